//! What views and triggers do in place of policies, and how that differs.

use axum::Router;
use axum::routing::post;
use rolescope::{Error, RoleScopedConnection};
use tokio_postgres::Client;

use super::{
    ALICE, ANONYMOUS, BOB, EVE, NOBODY, NOTES, PROJECTS, REAL, SIMULATED, Tenants, without,
};
use crate::support::proxy::within;
use crate::support::service::{self, service};

#[tokio::test]
async fn what_is_no_table_takes_no_policies() {
    let others = "CREATE FOREIGN DATA WRAPPER none; CREATE SERVER none FOREIGN DATA WRAPPER none;
                  CREATE FOREIGN TABLE elsewhere (tenant text) SERVER none;";
    let tenants = Tenants::new(&[SIMULATED, others]).await;
    let admin = tenants.database.admin().await;
    for table in ["elsewhere", "private.payroll", "notes"] {
        for sql in [
            format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"),
            format!("CREATE POLICY p ON {table} USING (true)"),
        ] {
            let error = admin.batch_execute(&sql).await.expect_err(&sql);
            assert_eq!(error.code().map(|code| code.code()), Some("42809"), "{sql}");
        }
    }
}

#[tokio::test]
async fn a_view_shows_and_takes_the_callers_own_rows() {
    let tenants = Tenants::new(&[SIMULATED, NOTES]).await;
    let bodies = "SELECT body FROM notes";
    tenants
        .check(&[
            (ALICE, bodies, "of alice"),
            (BOB, bodies, "secret of bob"),
            (EVE, bodies, "secret of eve"),
            (NOBODY, bodies, ""),
            (ANONYMOUS, bodies, "42501 permission denied for view notes"),
            (
                ALICE,
                "SELECT body FROM private.notes",
                "42501 permission denied for schema private",
            ),
            (
                ALICE,
                "INSERT INTO notes (slug, body) VALUES ('n2', '') RETURNING tenant || ' ' || owner",
                "acme alice",
            ),
            (
                ALICE,
                "INSERT INTO notes (owner, slug, body) VALUES ('bob', 'n2', '')",
                "44000 new row violates check option",
            ),
            (
                NOBODY,
                "INSERT INTO notes (slug, body) VALUES ('n2', '')",
                "23502",
            ),
            (ALICE, "UPDATE notes SET body = 'new' RETURNING body", "new"),
            (
                ALICE,
                "UPDATE notes SET owner = 'bob'",
                "42501 permission denied for view notes",
            ),
            (ALICE, "DELETE FROM notes RETURNING slug", "n1"),
            (ALICE, "SELECT total::text FROM payroll", "100"),
            (EVE, "SELECT total::text FROM payroll", "666"),
            (
                ALICE,
                "DELETE FROM payroll",
                "55000 cannot delete from view \"payroll\"",
            ),
            (ALICE, "TRUNCATE notes", "42809 \"notes\" is not a table"),
        ])
        .await;
}

#[tokio::test]
async fn triggers_write_a_join_for_the_callers_tenant() {
    let tenants = Tenants::new(&[SIMULATED, NOTES]).await;
    let staff = "SELECT name || ' ' || salary FROM staff ORDER BY id";
    let refused = "42501 the new row is not of your tenant";
    tenants
        .check(&[
            (ALICE, staff, "ann 100"),
            (EVE, staff, "secret una 666"),
            (NOBODY, staff, ""),
            (
                ALICE,
                &format!("INSERT INTO staff (name, salary) VALUES ('al', 7);; {staff}"),
                "ann 100, al 7",
            ),
            (
                ALICE,
                "INSERT INTO staff (tenant, name, salary) VALUES ('umbrella', 'al', 7)",
                refused,
            ),
            (
                NOBODY,
                "INSERT INTO staff (name, salary) VALUES ('al', 7)",
                refused,
            ),
            (ALICE, "UPDATE staff SET tenant = 'umbrella'", refused),
            (
                ALICE,
                &format!("UPDATE staff SET salary = 8;; {staff}"),
                "ann 8",
            ),
            (
                ALICE,
                "UPDATE staff SET salary = 8 WHERE name LIKE 'secret%' RETURNING name",
                "",
            ),
            (ALICE, "DELETE FROM staff WHERE id = 2 RETURNING name", ""),
            (ALICE, &format!("DELETE FROM staff;; {staff}"), ""),
            // RETURNING is what the trigger returns: the key that was made, and no other than the row's.
            (
                ALICE,
                "INSERT INTO staff (id, name, salary) VALUES (1, 'al', 7) RETURNING id::text",
                "4",
            ),
            (ALICE, "UPDATE staff SET id = 2 RETURNING id::text", "1"),
        ])
        .await;
}

#[tokio::test]
async fn an_upsert_through_a_view_goes_past_its_condition() {
    let tenants = Tenants::new(&[SIMULATED, NOTES]).await;
    let up = "ON CONFLICT (tenant, owner, slug) DO UPDATE SET body = 'mine' RETURNING body";
    let as_eve = format!(
        "INSERT INTO notes (tenant, owner, slug, body) VALUES ('umbrella', 'eve', 'n1', '') {up}"
    );
    tenants
        .check(&[
            (ALICE, &format!("INSERT INTO notes (slug, body) VALUES ('n1', '') {up}"), "mine"),
            // What else it could do: guards.rs.
            (ALICE, &as_eve, "44000 new row violates check option"),
            // Where there are triggers the clause has no effect, or is an error.
            (
                ALICE,
                "INSERT INTO staff (name, salary) VALUES ('ann', 7) ON CONFLICT DO NOTHING",
                "23505 duplicate key value",
            ),
            (
                ALICE,
                "INSERT INTO staff (name, salary) VALUES ('ann', 7) ON CONFLICT (name) DO UPDATE SET salary = 7",
                "42P10 there is no unique or exclusion constraint",
            ),
        ])
        .await;

    let merge = |view: &str, set: &str| {
        format!("MERGE INTO {view} v USING (SELECT 1) s ON true WHEN MATCHED THEN UPDATE SET {set}")
    };
    let outcome = match tenants.version().await {
        ..=14 => "42601",
        15 | 16 => "0A000 cannot execute MERGE on relation",
        _ => "",
    };
    for sql in [
        merge("notes", "body = 'merged'"),
        merge("staff", "salary = 9"),
    ] {
        tenants.check(&[(ALICE, &sql, outcome)]).await;
    }
}

#[tokio::test]
async fn a_view_is_copied_as_a_query_and_written_by_copy_only_with_a_trigger() {
    let tenants = Tenants::new(&[SIMULATED, NOTES]).await;
    let pool = tenants.database.pool().await;
    async fn read(db: &RoleScopedConnection, sql: &str) -> Result<String, Error> {
        let mut copy = db.copy_out(sql).await?;
        let mut text = String::new();
        while let Some(chunk) = copy.next().await {
            text.push_str(&String::from_utf8_lossy(&chunk?));
        }
        Ok(text)
    }
    async fn write(
        db: &RoleScopedConnection,
        sql: &str,
        row: &'static str,
    ) -> Result<String, Error> {
        let mut copy = db.copy_in(sql).await?;
        copy.send(row).await?;
        copy.finish().await?;
        Ok(String::new())
    }
    let routes = Router::new()
        .route(
            "/view",
            post(async |db: RoleScopedConnection| read(&db, "COPY notes TO STDOUT").await),
        )
        .route(
            "/query",
            post(async |db: RoleScopedConnection| {
                read(&db, "COPY (SELECT body FROM notes) TO STDOUT").await
            }),
        )
        .route(
            "/notes",
            post(async |db: RoleScopedConnection| {
                write(&db, "COPY notes (slug, body) FROM STDIN", "n2\tnew\n").await
            }),
        )
        .route(
            "/staff",
            post(async |db: RoleScopedConnection| {
                write(&db, "COPY staff (name, salary) FROM STDIN", "al\t7\n").await?;
                read(&db, "COPY (SELECT name FROM staff ORDER BY id) TO STDOUT").await
            }),
        )
        .route(
            "/others",
            post(async |db: RoleScopedConnection| {
                write(
                    &db,
                    "COPY staff (tenant, name, salary) FROM STDIN",
                    "umbrella\tal\t7\n",
                )
                .await
            }),
        );
    let app = service(&pool, routes);
    let code = async |uri| {
        let reply = service::post(&app, uri, ALICE).await;
        let error = reply.error.expect("it is refused");
        error
            .code()
            .expect("PostgreSQL refuses it")
            .code()
            .to_owned()
    };
    assert_eq!(
        service::post(&app, "/query", ALICE).await.ok(),
        "of alice\n"
    );
    assert_eq!(service::post(&app, "/staff", ALICE).await.ok(), "ann\nal\n");
    assert_eq!(code("/view").await, "42809");
    assert_eq!(code("/notes").await, "42809");
    assert_eq!(code("/others").await, "42501");
}

/// Who asks is another in a trigger that runs as its owner.
#[tokio::test]
async fn a_trigger_knows_its_caller_by_claims_and_by_the_role_setting() {
    let who = "CREATE FUNCTION who() RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
                   AS $$ SELECT current_user || ' ' || current_setting('role') || ' ' || public.jwt_claim('sub') $$;
               ALTER FUNCTION who() OWNER TO :\"owner\";
               CREATE VIEW me AS SELECT current_user::text AS name; GRANT SELECT ON me TO :\"web_user\";
               ALTER VIEW me OWNER TO :\"owner\";";
    let tenants = Tenants::new(&[SIMULATED, who]).await;
    let owner = super::named(":\"owner\"", &tenants.database);
    let expected = format!("{owner} web_user alice");
    tenants
        .check(&[
            (ALICE, "SELECT who()", &expected),
            // In a view it is the caller.
            (ALICE, "SELECT name FROM me", "web_user"),
        ])
        .await;
}

/// Waits until a statement waits for somebody's lock.
async fn somebody_waits(admin: &Client, database: &str) {
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'";
    let nobody_waits = async || {
        let count: i64 = admin
            .query_one_scalar(waiting, &[&database])
            .await
            .expect("it can be asked");
        count == 0
    };
    within(async {
        while nobody_waits().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// What a statement through a view does to a row that moves to another tenant while the statement waits for it.
async fn while_it_moves(tenants: &Tenants, table: &str, sql: &str) -> String {
    let (mover, watcher) = (
        tenants.database.admin().await,
        tenants.database.admin().await,
    );
    let moved = format!("BEGIN; UPDATE {table} SET tenant = 'umbrella' WHERE id = 1");
    mover.batch_execute(&moved).await.expect("it may");
    let commit = async {
        somebody_waits(&watcher, tenants.database.name()).await;
        mover
            .batch_execute("COMMIT")
            .await
            .expect("it is committed");
    };
    let (found, ()) = tokio::join!(tenants.ask(ALICE, sql), commit);
    found
}

#[tokio::test]
async fn a_row_that_moves_meanwhile_is_not_written() {
    let update = "UPDATE staff SET salary = 9 RETURNING tenant || ' ' || name";
    let delete = "DELETE FROM staff RETURNING tenant || ' ' || name";
    let unlocked = without(SIMULATED, 2, " AND tenant = OLD.tenant;", ";");
    for sql in [update, delete] {
        let tenants = Tenants::new(&[SIMULATED, NOTES]).await;
        assert_eq!(while_it_moves(&tenants, "private.people", sql).await, "");
        let tenants = Tenants::new(&[&unlocked, NOTES]).await;
        assert_eq!(
            while_it_moves(&tenants, "private.people", sql).await,
            "acme ann"
        );
    }
    // Without triggers PostgreSQL asks the view's condition again, and so it does with policies.
    let tenants = Tenants::new(&[SIMULATED, NOTES]).await;
    let sql = "UPDATE notes SET body = 'new' RETURNING body";
    assert_eq!(while_it_moves(&tenants, "private.notes", sql).await, "");
    let tenants = Tenants::new(&[REAL, PROJECTS, "DELETE FROM tasks"]).await;
    let sql = "UPDATE projects SET slug = 'new' WHERE slug = 'a1' RETURNING slug";
    assert_eq!(while_it_moves(&tenants, "projects", sql).await, "");
}
