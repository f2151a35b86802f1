//! No claim, token, secret or bound parameter is in any log line, at any level, of this crate or of those below it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Command;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use axum::routing::post;
use rolescope::scope::RoleScopedPoolBuilder;
use rolescope::tokio_postgres::types::Type;
use rolescope::{Claims, Error, RoleScopeLayer, RoleScopedConnection, RoleScopedPool};
use tower::ServiceBuilder;
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::trace::{DefaultMakeSpan, DefaultOnRequest, DefaultOnResponse, TraceLayer};
use tracing::{Level, Metadata, Subscriber, span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::support::database;
use crate::support::events::Fields;
use crate::support::service::{Reply, SECRET, auth, send, sign, token};

/// In the environment, it makes this test the one that is listened to. Loggers belong to the whole process.
const URL_OF_CHILD: &str = "ROLESCOPE_TEST_LOGS_OF_URL";

/// Stands in everything that must not be logged.
const NEEDLE: &str = "n33dle";

#[tokio::test]
async fn no_token_claim_secret_or_parameter_is_logged() {
    if let Ok(url) = std::env::var(URL_OF_CHILD) {
        return scenario(&url).await;
    }
    let database = database().await;
    database.execute(SCHEMA).await;
    let url = database.url(&format!("authenticator:{NEEDLE}-password"));
    let child = tokio::task::spawn_blocking(move || {
        Command::new(std::env::current_exe().expect("this program is somewhere"))
            .args([
                "--exact",
                "requests::logs::no_token_claim_secret_or_parameter_is_logged",
            ])
            .args(["--nocapture", "--test-threads=1"])
            .env(URL_OF_CHILD, url)
            .output()
            .expect("this program can be run")
    });
    let output = child.await.expect("no panic");
    let lines = [output.stdout, output.stderr].concat();
    let lines = String::from_utf8_lossy(&lines);
    assert!(output.status.success(), "{lines}");

    // It listened, to all of them and at all levels.
    for heard in [
        "DEBUG tokio_postgres::query: executing statement",
        "with parameters: [",
        "DEBUG tokio_postgres::prepare: preparing query",
        "TRACE tokio_postgres::connection",
        "DEBUG tower_http::trace",
        "\"authorization\": Sensitive",
        "ERROR rolescope",
        "kind=database_error",
        "kind=database_unavailable",
        "status=500",
        "the scenario is over",
    ] {
        assert!(lines.contains(heard), "{heard:?} is not in\n{lines}");
    }
    let tokens: Vec<_> = tokens()
        .iter()
        .flat_map(|token| secret_parts(token))
        .collect();
    let told: Vec<_> = lines
        .lines()
        .filter(|line| {
            line.contains(NEEDLE)
                || line.contains(SECRET)
                || tokens.iter().any(|part| line.contains(part))
        })
        .collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

const SCHEMA: &str = "
    CREATE TABLE notes (id int PRIMARY KEY, note text UNIQUE DEFERRABLE INITIALLY DEFERRED CHECK (note <> 'no'), owner text);
    GRANT SELECT, INSERT, UPDATE ON notes TO web_user;
    CREATE FUNCTION dynamic(value text) RETURNS void LANGUAGE plpgsql AS
        $$ BEGIN EXECUTE 'SELECT ' || value; END $$;
    CREATE FUNCTION refuse(state text, value text) RETURNS void LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION USING ERRCODE = state, MESSAGE = value, DETAIL = value, HINT = value; END $$;";

/// The tokens that are sent: an accepted one, and some that are refused at each step.
fn tokens() -> [String; 5] {
    [
        token(&format!(
            r#"{{"role":"web_user","sub":"{NEEDLE}-sub","email":"{NEEDLE}@example.org"}}"#
        )),
        token(&format!(r#"{{"role":"{NEEDLE}_role"}}"#)),
        token(&format!(r#"{{"role":["{NEEDLE}_role"]}}"#)),
        sign(&format!(
            r#"{{"exp":1,"role":"web_user","sub":"{NEEDLE}"}}"#
        )),
        format!("{NEEDLE}.{NEEDLE}.{NEEDLE}"),
    ]
}

/// Payload and signature; the header is no secret.
fn secret_parts(token: &str) -> impl Iterator<Item = String> {
    let parts: Vec<_> = token.split('.').skip(1).map(str::to_owned).collect();
    parts.into_iter()
}

/// Sends everything through every way that it can take, and logs what it can.
async fn scenario(url: &str) {
    log::set_max_level(log::LevelFilter::Trace);
    log::set_logger(&Listener).expect("this process has no other");
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Listener))
        .expect("this process has no other");

    let builder = || {
        RoleScopedPool::builder(url)
            .expect("the URL can be read")
            .anonymous_role("anon")
    };
    let all_settings = |builder: RoleScopedPoolBuilder| {
        builder
            .claim_settings(true)
            .role_settings(true)
            .app_setting("app.key", NEEDLE)
    };
    for builder in [builder(), all_settings(builder())] {
        tracing::info!(?builder, "a service might log this");
        let pool = builder.build().await.expect("the pool is built");
        let auth = auth();
        let scope = RoleScopeLayer::new(pool.clone()).request_headers(true);
        tracing::info!(?pool, ?auth, ?scope, "a service might log this");
        let trace = || {
            TraceLayer::new_for_http()
                .make_span_with(
                    DefaultMakeSpan::new()
                        .level(Level::TRACE)
                        .include_headers(true),
                )
                .on_request(DefaultOnRequest::new().level(Level::TRACE))
                .on_response(
                    DefaultOnResponse::new()
                        .level(Level::TRACE)
                        .include_headers(true),
                )
        };
        let secret_headers =
            SetSensitiveRequestHeadersLayer::new([header::AUTHORIZATION, header::COOKIE]);
        let outside = ServiceBuilder::new()
            .layer(secret_headers)
            .layer(trace())
            .layer(auth.clone())
            .layer(scope.clone());
        // Behind the authentication the token is no longer shown by itself.
        let only_cookie = SetSensitiveRequestHeadersLayer::new([header::COOKIE]);
        let inside = ServiceBuilder::new()
            .layer(only_cookie)
            .layer(auth)
            .layer(trace())
            .layer(scope);
        for app in [routes().layer(outside), routes().layer(inside)] {
            requests(&app).await;
        }
        pool.close().await;
    }

    let away = RoleScopedPool::builder(&format!(
        "postgres://authenticator:{NEEDLE}@127.0.0.1:1/app"
    ));
    let away = away
        .expect("the URL can be read")
        .anonymous_role("anon")
        .build_lazy();
    let app = routes()
        .layer(RoleScopeLayer::new(away.expect("the options are good")))
        .layer(auth());
    let reply = ask(&app, "/values", Some(&tokens()[0])).await;
    assert_eq!(reply.status, 503, "{}", reply.body);
    tracing::info!("the scenario is over");
}

async fn requests(app: &Router) {
    let [accepted, unknown_role, no_name, expired, garbage] = tokens();
    for (token, status) in [
        (unknown_role, 403),
        (no_name, 403),
        (expired, 401),
        (garbage, 401),
    ] {
        let reply = ask(app, "/values", Some(&token)).await;
        assert_eq!(reply.status, status, "{}", reply.body);
    }
    // Twice: by a statement that is new and by a cached one.
    for _ in 0..2 {
        for (path, status, repeated) in [
            ("/values", 200, false),
            ("/row", 400, true),
            ("/input", 400, true),
            ("/commit", 409, true),
            ("/refuse/P0001", 400, true),
            ("/refuse/P0004", 500, false),
            ("/refuse/PT503", 503, false),
            ("/relation", 500, false),
            ("/search", 500, false),
            ("/role", 500, false),
            ("/dynamic", 500, false),
            ("/type", 500, false),
        ] {
            let reply = ask(app, path, Some(&accepted)).await;
            assert_eq!(reply.status, status, "{path}: {}", reply.body);
            assert_eq!(
                reply.body.contains(NEEDLE),
                repeated,
                "{path}: {}",
                reply.body
            );
        }
    }
}

fn routes() -> Router {
    Router::new()
        .route("/values", post(values))
        .route(
            "/row",
            post(async |db| run(db, "INSERT INTO notes VALUES (1, 'no', $1)").await),
        )
        .route(
            "/input",
            post(async |db| run(db, "SELECT $1::text::int").await),
        )
        .route(
            "/commit",
            post(async |db: RoleScopedConnection| {
                let insert = "INSERT INTO notes VALUES ($1, $2, 'owner')";
                db.execute(insert, &[&2, &NEEDLE]).await?;
                db.execute(insert, &[&3, &NEEDLE]).await?;
                Ok::<_, Error>(())
            }),
        )
        .route(
            "/refuse/P0001",
            post(async |db| run(db, "SELECT refuse('P0001', $1)").await),
        )
        .route(
            "/refuse/P0004",
            post(async |db| run(db, "SELECT refuse('P0004', $1)").await),
        )
        .route(
            "/refuse/PT503",
            post(async |db| run(db, "SELECT refuse('PT503', $1)").await),
        )
        // What the database says of these repeats the value.
        .route(
            "/relation",
            post(async |db| run(db, "SELECT $1::text::regclass::text").await),
        )
        .route(
            "/search",
            post(async |db| run(db, "SELECT to_tsquery($1 || ' ' || $1)::text").await),
        )
        .route(
            "/role",
            post(async |db| run(db, "SELECT pg_has_role($1::text::name, 'USAGE')::text").await),
        )
        .route(
            "/dynamic",
            post(async |db| run(db, "SELECT dynamic($1)").await),
        )
        .route("/type", post(async |db| run(db, "SELECT $1::int").await))
}

async fn run(db: RoleScopedConnection, sql: &'static str) -> Result<(), Error> {
    tracing::info!(?db, "a handler might log this");
    db.query(sql, &[&NEEDLE]).await.map(|_| ())
}

async fn values(claims: Claims, db: RoleScopedConnection) -> Result<(), Error> {
    tracing::info!(?claims, "a handler might log this");
    let select = "SELECT $1::text";
    db.query(select, &[&NEEDLE]).await?;
    db.query_one(select, &[&NEEDLE]).await?;
    db.query_opt_scalar::<String>(select, &[&NEEDLE]).await?;
    db.execute(select, &[&NEEDLE]).await?;
    db.query_typed(select, &[(&NEEDLE, Type::TEXT)]).await?;
    db.query_typed_one(select, &[(&NEEDLE, Type::TEXT)]).await?;
    db.execute_typed(select, &[(&NEEDLE, Type::TEXT)]).await?;
    let savepoint = db.savepoint().await?;
    db.query("SELECT $1::text::int", &[&NEEDLE])
        .await
        .expect_err("it is no number");
    savepoint.rollback().await?;
    db.batch_execute("SELECT current_setting('request.jwt.claims')")
        .await
}

async fn ask(app: &Router, path: &str, token: Option<&str>) -> Reply {
    let mut request = Request::post(path).header(header::COOKIE, format!("session={NEEDLE}"));
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    send(
        app,
        request
            .body(Body::empty())
            .expect("the request is well formed"),
    )
    .await
}

/// Writes down all that is logged, as it comes.
struct Listener;

impl Listener {
    fn hear(&self, metadata: &Metadata<'_>, fields: &Fields) {
        let mut line = format!("{} {}:", metadata.level(), metadata.target());
        for (name, value) in &fields.0 {
            let _ = write!(line, " {name}={value}");
        }
        self.write(&line);
    }

    fn write(&self, line: &str) {
        writeln!(std::io::stderr(), "{line}").expect("somebody reads it");
    }
}

impl log::Log for Listener {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.write(&format!(
            "{} {}: {}",
            record.level(),
            record.target(),
            record.args()
        ));
    }

    fn flush(&self) {}
}

impl<S> Layer<S> for Listener
where
    S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, _: &span::Id, _: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        self.hear(attributes.metadata(), &fields);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        self.hear(context.metadata(id).expect("the span is there"), &fields);
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.hear(event.metadata(), &fields);
    }
}
