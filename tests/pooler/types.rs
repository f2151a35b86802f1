//! Types that are not PostgreSQL's own: the driver asks the server about each, by statements that it names.

use rolescope::tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use crate::support::events::Recorder;
use crate::support::proxy::within;
use crate::{Pooled, scope};

const SETUP: &str = "\
    CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TYPE size AS ENUM ('small', 'large');
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE TYPE pair AS (m mood, s size);
    CREATE TABLE things (id int, m mood, s size, p positive, b pair, a mood[]);
    INSERT INTO things VALUES (1, 'good', 'small', 1, ('bad', 'large'), '{good,bad}');
    GRANT SELECT, INSERT ON things TO web_user";

#[tokio::test]
async fn types_of_the_databases_own_work_in_any_order_on_any_server_connection() {
    let pooled = Pooled::start("default_pool_size = 2").await;
    pooled.database.execute(SETUP).await;
    let pool = pooled.builder().max_size(2);
    let pool = pool.build().await.expect("it is built");
    let warnings = Recorder::start();
    for round in 0..3 {
        for sql in [
            "SELECT m FROM things",
            "SELECT s FROM things WHERE id = $1",
            "SELECT id FROM things WHERE m = $2 AND id = $1",
            "SELECT p, b FROM things",
            "SELECT a FROM things WHERE id = $1 AND b = $2::pair",
            "SELECT m, s FROM things WHERE false",
            "SELECT id FROM things",
        ] {
            // Another transaction meanwhile, so that the two change their server connections.
            let meanwhile = pool.begin(&scope("web_user"));
            within(meanwhile.query("SELECT s FROM things", &[]))
                .await
                .expect("it runs");
            let db = pool.begin(&scope("web_user"));
            let result = match (
                sql.contains("m = $2"),
                sql.contains("b = $2::pair"),
                sql.contains("$1"),
            ) {
                (true, ..) => within(db.query(sql, &[&1, &Text("good")])).await,
                (_, true, _) => within(db.query(sql, &[&1, &Text("(bad,large)")])).await,
                (.., true) => within(db.query(sql, &[&1])).await,
                _ => within(db.query(sql, &[])).await,
            };
            result.unwrap_or_else(|e| panic!("{sql}, round {round}: {e:?}"));
            // A second type, met later in the same transaction.
            within(db.query("SELECT b, s FROM things", &[]))
                .await
                .expect("it runs");
            within(meanwhile.query_typed("SELECT m FROM things", &[]))
                .await
                .expect("it runs");
            within(db.commit()).await.expect("it commits");
        }
    }
    let warnings = warnings.warnings();
    assert!(
        matches!(&warnings[..], [one] if one.contains("Cast them in the SQL")),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn a_lookup_that_left_no_trace_costs_the_next_one_no_error() {
    let pooled = Pooled::start("").await;
    pooled.database.execute(SETUP).await;
    let pool = pooled.builder().max_size(1);
    let pool = pool.build().await.expect("it is built");
    let db = pool.begin(&scope("web_user"));
    within(db.query_typed("SELECT m FROM things WHERE false", &[]))
        .await
        .expect("it runs");
    within(db.commit()).await.expect("it commits");
    let db = pool.begin(&scope("web_user"));
    within(db.query("SELECT s FROM things", &[]))
        .await
        .expect("it is run once more, on another session");
}

#[tokio::test]
async fn a_cast_keeps_the_connection() {
    let pooled = Pooled::start("").await;
    pooled.database.execute(SETUP).await;
    let pool = pooled.builder().max_size(1);
    let pool = pool.build().await.expect("it is built");
    let read = async |sql| {
        let db = pool.begin(&scope("web_user"));
        within(db.query_one_scalar::<String>(sql, &[])).await
    };
    for _ in 0..3 {
        let mood = read("SELECT m::text FROM things").await;
        assert_eq!(mood.expect("it runs"), "good");
    }
    assert_eq!(pool.status().connections_created, 1);
}

/// The text of a value, whatever its type.
#[derive(Debug)]
struct Text(&'static str);

impl ToSql for Text {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}
