//! Where the status comes in the trailers: methods of all four kinds.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use futures_util::{FutureExt, Stream};
use rolescope::{AccessMode, Error, RoleScopeLayer, RoleScopedConnection, RoleScopedPool};
use tokio_postgres::Client;
use tonic::{Code, Status, Streaming};
use tower::ServiceBuilder;

use super::{layers, run};
use crate::support::events::Recorder;
use crate::support::grpc::{Answers, Caller, Methods};
use crate::support::proxy::within;
use crate::support::service::auth;
use crate::support::{Database, database};

const SCHEMA: &str = "
    CREATE TABLE notes (note text UNIQUE DEFERRABLE INITIALLY DEFERRED);
    GRANT SELECT, INSERT ON notes TO anon;
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON notes INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.note LIKE '%wait%') EXECUTE FUNCTION wait();";

/// A way to say `Status::aborted`, to fail a method, and to have it ignore an error.
const FAIL: &str = "fail";
const IGNORE: &str = "ignore";

/// Stores a note, or does what it says.
pub(super) async fn add(db: RoleScopedConnection, note: String) -> Result<String, Status> {
    match &*note {
        FAIL => return Err(Status::aborted("as it was asked to")),
        IGNORE => drop(db.execute("SELECT nothing()", &[]).await),
        _ => {
            let insert = "INSERT INTO notes VALUES ($1)";
            db.execute(insert, &[&note]).await?;
        }
    }
    Ok(note)
}

/// Stores each word as the client asks for the next message.
fn words(db: RoleScopedConnection, words: &str) -> Answers {
    let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
    let added = stream::iter(words).then(move |word| add(db.clone(), word));
    added.boxed()
}

async fn add_all(
    db: RoleScopedConnection,
    notes: impl Stream<Item = Result<String, Status>>,
) -> Result<String, Status> {
    let added = notes.and_then(|note| add(db.clone(), note));
    Ok(added.try_collect::<Vec<_>>().await?.join(" "))
}

pub(super) fn methods() -> Methods {
    Methods::default()
        .unary("/t.T/Unary", async |db, all: String| {
            let notes: Vec<_> = all.split(' ').map(|note| Ok(note.to_owned())).collect();
            add_all(db, stream::iter(notes)).await
        })
        .server_streaming("/t.T/Server", async |db, all: String| Ok(words(db, &all)))
        .client_streaming("/t.T/Client", add_all)
        .streaming("/t.T/Both", async |db, notes: Streaming<String>| {
            let added = notes.and_then(move |note| add(db.clone(), note));
            Ok(added.boxed())
        })
        .unary("/t.T/Run", run)
}

const METHODS: [&str; 4] = ["/t.T/Unary", "/t.T/Server", "/t.T/Client", "/t.T/Both"];

/// Sends notes to a method of any kind. Returns the messages that came, and the status.
async fn call(
    caller: &Caller,
    path: &'static str,
    notes: &str,
) -> (Vec<String>, Result<(), Status>) {
    let messages = if ["/t.T/Unary", "/t.T/Server"].contains(&path) {
        vec![notes.to_owned()]
    } else {
        notes.split(' ').map(str::to_owned).collect()
    };
    let mut answers = match caller.streaming(path, stream::iter(messages)).await {
        Ok(answers) => answers,
        Err(status) => return (Vec::new(), Err(status)),
    };
    let mut came = Vec::new();
    loop {
        match answers.message().await {
            Ok(Some(message)) => came.push(message),
            Ok(None) => return (came, Ok(())),
            Err(status) => return (came, Err(status)),
        }
    }
}

pub(super) struct Service {
    pub(super) database: Database,
    pub(super) admin: Client,
    pub(super) pool: RoleScopedPool,
    pub(super) address: SocketAddr,
    pub(super) caller: Caller,
}

impl Service {
    pub(super) async fn start() -> Self {
        let database = database().await;
        database.execute(SCHEMA).await;
        let pool = database.pool_of_one().await;
        let address = methods().serve(layers(&pool)).await;
        Self {
            admin: database.admin().await,
            address,
            caller: Caller::connect(address).await,
            database,
            pool,
        }
    }

    /// The stored notes, as another session sees them.
    pub(super) async fn notes(&self) -> Vec<String> {
        let sql = "SELECT note FROM notes ORDER BY note";
        let notes = self.admin.query_scalar(sql, &[]).await;
        notes.expect("it can be read")
    }

    /// Waits until a backend of the pool stands like this.
    pub(super) async fn until(&self, condition: &str) {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND usename = 'authenticator' AND {condition}"
        );
        within(async {
            while self
                .admin
                .query_one_scalar::<i64, _>(&sql, &[])
                .await
                .expect("it runs")
                == 0
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn success_is_stored_before_the_client_is_told() {
    let service = Service::start().await;
    for path in METHODS {
        let (messages, status) = call(&service.caller, path, "one two").await;
        status.unwrap_or_else(|status| panic!("{path}: {status}"));
        assert_eq!(messages.join(" "), "one two", "{path}");
        assert_eq!(service.notes().await, ["one", "two"], "{path}");
        service.database.execute("DELETE FROM notes").await;
    }
    let status = service.pool.status();
    assert_eq!(
        (status.connections, status.connections_discarded),
        (1, 0),
        "{status:?}"
    );
}

/// A COMMIT that takes its time: all messages may come meanwhile, the end does not.
#[tokio::test]
async fn the_trailers_wait_for_the_commit() {
    let service = Service::start().await;
    for path in METHODS {
        service
            .admin
            .batch_execute("SELECT pg_advisory_lock(1)")
            .await
            .expect("it is free");
        let mut end = Box::pin(call(&service.caller, path, "wait"));
        tokio::select! {
            (messages, status) = &mut end => panic!("{path}: {messages:?} {status:?}"),
            () = service.until("wait_event_type = 'Lock'") => {}
        }
        assert!((&mut end).now_or_never().is_none(), "{path}");
        assert_eq!(service.notes().await, Vec::<String>::new(), "{path}");
        service
            .admin
            .batch_execute("SELECT pg_advisory_unlock(1)")
            .await
            .expect("it is held");
        let (messages, status) = within(end).await;
        assert_eq!(
            (messages, status.is_ok()),
            (vec!["wait".to_owned()], true),
            "{path}"
        );
        assert_eq!(service.notes().await, ["wait"], "{path}");
        service.database.execute("DELETE FROM notes").await;
    }
}

#[tokio::test]
async fn another_status_rolls_back_also_after_messages() {
    let service = Service::start().await;
    for path in METHODS {
        let (messages, status) = call(&service.caller, path, "one two fail three").await;
        let status = status.expect_err("it fails");
        assert_eq!(
            (status.code(), status.message()),
            (Code::Aborted, "as it was asked to"),
            "{path}"
        );
        if ["/t.T/Server", "/t.T/Both"].contains(&path) {
            assert_eq!(messages, ["one", "two"], "{path}");
        }
        assert_eq!(service.notes().await, Vec::<String>::new(), "{path}");
    }
    assert_eq!(service.pool.status().connections_discarded, 0);
}

#[tokio::test]
async fn a_refused_commit_takes_the_place_of_success() {
    let service = Service::start().await;
    let recorder = Recorder::start();
    for path in METHODS {
        let (messages, status) = call(&service.caller, path, "one one").await;
        // They came before anybody could know.
        let expected: &[&str] = match path {
            "/t.T/Server" | "/t.T/Both" => &["one", "one"],
            _ => &["one one"],
        };
        assert_eq!(messages, expected, "{path}");
        let status = status.expect_err("the constraint is checked at COMMIT");
        assert_eq!(status.code(), Code::AlreadyExists, "{path}");
        assert_eq!(
            status.message(),
            "duplicate key value violates unique constraint \"notes_note_key\""
        );
        assert_eq!(service.notes().await, Vec::<String>::new(), "{path}");
        assert_eq!(recorder.errors().len(), 0, "it is the client's");

        let (_, status) = call(&service.caller, path, "one ignore").await;
        let status = status.expect_err("nothing was stored");
        assert_eq!(status.code(), Code::Internal, "{path}");
        let errors = recorder.errors();
        assert_eq!(errors.len(), 1, "{path}: {errors:?}");
        assert_eq!(errors[0].get("kind"), Some("transaction_aborted"));
        assert_eq!(service.notes().await, Vec::<String>::new(), "{path}");
    }
}

/// A client of one message gets the status only, also where the message had come before it.
#[tokio::test]
async fn a_unary_client_sees_the_refused_commit_in_place_of_its_message() {
    let service = Service::start().await;
    let status = service.caller.unary("/t.T/Unary", "one one").await;
    assert_eq!(status.expect_err("twice").code(), Code::AlreadyExists);
    let notes = stream::iter(["one".to_owned(), "one".to_owned()]);
    let status = service.caller.client_streaming("/t.T/Client", notes).await;
    assert_eq!(status.expect_err("twice").code(), Code::AlreadyExists);
    let notes = stream::iter(["one".to_owned(), "two".to_owned()]);
    let answer = service.caller.client_streaming("/t.T/Client", notes).await;
    assert_eq!(answer.expect("it is stored"), "one two");
}

#[tokio::test]
async fn a_method_can_be_read_only_and_then_cannot_write() {
    let service = Service::start().await;
    let reading =
        RoleScopeLayer::new(service.pool.clone()).access_mode(|_, uri| match uri.path() {
            "/t.T/Run" => AccessMode::ReadOnly,
            _ => AccessMode::ReadWrite,
        });
    let stack = ServiceBuilder::new().layer(auth()).layer(reading);
    let caller = Caller::connect(methods().serve(stack).await).await;
    let mode = "SELECT current_setting('transaction_read_only')";
    assert_eq!(
        caller.unary("/t.T/Run", mode).await.expect("it reads"),
        "on"
    );
    let recorder = Recorder::start();
    let insert = "INSERT INTO notes VALUES ('one') RETURNING note";
    let status = caller.unary("/t.T/Run", insert).await;
    assert_eq!(status.expect_err("it cannot write").code(), Code::Internal);
    let errors = recorder.errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].get("sqlstate"), Some("25006"), "{errors:?}");
    assert_eq!(service.notes().await, Vec::<String>::new());
    assert_eq!(
        caller.unary("/t.T/Unary", "one").await.expect("it writes"),
        "one"
    );
    assert_eq!(service.notes().await, ["one"]);
}

#[tokio::test]
async fn what_the_handler_ends_itself_stays_ended() {
    let service = Service::start().await;
    let methods = Methods::default()
        .unary("/t.T/Commits", async |db: RoleScopedConnection, note| {
            add(db.clone(), note).await?;
            db.commit().await?;
            Err(Status::aborted("all the same"))
        })
        .server_streaming("/t.T/RollsBack", async |db: RoleScopedConnection, note| {
            add(db.clone(), note).await?;
            db.rollback().await?;
            Ok(stream::iter([Ok("nothing".to_owned())]).boxed())
        });
    let caller = Caller::connect(methods.serve(layers(&service.pool)).await).await;
    let status = caller.unary("/t.T/Commits", "one").await;
    assert_eq!(status.expect_err("as it said").code(), Code::Aborted);
    let (messages, status) = call(&caller, "/t.T/RollsBack", "two").await;
    status.expect("the handler says so");
    assert_eq!(messages, ["nothing"]);
    assert_eq!(service.notes().await, ["one"]);
}

/// The connection is lost before the end: nobody is told of success.
#[tokio::test]
async fn a_session_that_is_lost_in_mid_stream_is_unavailable() {
    let service = Service::start().await;
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<String>();
    let notes = stream::unfold(receiver, async |mut notes| {
        notes.recv().await.map(|note| (note, notes))
    });
    sender.send("one".to_owned()).expect("it listens");
    let answers = service.caller.streaming("/t.T/Both", notes).await;
    let mut answers = answers.expect("it begins");
    answers.message().await.expect("the first comes");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND usename = 'authenticator'";
    service.admin.batch_execute(end).await.expect("it ends");
    drop(sender);
    let status = within(answers.message()).await.expect_err("it is lost");
    assert!(
        matches!(status.code(), Code::Unavailable | Code::Unknown),
        "{status:?}"
    );
    assert_eq!(service.notes().await, Vec::<String>::new());
}

/// As a layer's answer would be: an error of a handler that knows no gRPC.
#[tokio::test]
async fn an_error_in_the_words_of_http_rolls_back() {
    let service = Service::start().await;
    let routes = Router::new().route(
        "/t.T/Http",
        post(async |db: RoleScopedConnection| -> Result<(), Error> {
            db.execute("INSERT INTO notes VALUES ('one')", &[]).await?;
            db.execute("SELECT nothing()", &[]).await?;
            Ok(())
        }),
    );
    let caller = Caller::connect(Methods::from(routes).serve(layers(&service.pool)).await).await;
    let status = caller.unary("/t.T/Http", "").await.expect_err("it fails");
    assert_eq!(status.code(), Code::Internal, "{status:?}");
    assert_eq!(service.notes().await, Vec::<String>::new());
}

/// Reads go on for as long as the stream does, with no time limit but those that were set.
#[tokio::test]
async fn rows_read_between_messages_are_of_one_transaction() {
    let service = Service::start().await;
    let snapshots =
        Methods::default().streaming("/t.T/Count", async |db, asked: Streaming<String>| {
            let db: RoleScopedConnection = db;
            db.isolation(rolescope::Isolation::RepeatableRead)?;
            let counts = asked.and_then(move |_| {
                let db = db.clone();
                async move {
                    let count = "SELECT count(*)::text FROM notes";
                    Ok(db.query_one_scalar::<String>(count, &[]).await?)
                }
            });
            Ok(counts.boxed())
        });
    let caller = Caller::connect(snapshots.serve(layers(&service.pool)).await).await;
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<String>();
    let asked = stream::unfold(receiver, async |mut asked| {
        asked.recv().await.map(|one| (one, asked))
    });
    sender.send(String::new()).expect("it listens");
    let answers = caller.streaming("/t.T/Count", asked).await;
    let mut answers = answers.expect("it begins");
    let first = answers.message().await.expect("a message");
    service
        .database
        .execute("INSERT INTO notes VALUES ('new')")
        .await;
    sender.send(String::new()).expect("it listens");
    let second = answers.message().await.expect("a message");
    assert_eq!(
        (first.as_deref(), second.as_deref()),
        (Some("0"), Some("0"))
    );
    drop(sender);
    let end = tokio::time::timeout(Duration::from_secs(30), answers.message()).await;
    assert_eq!(end.expect("it ends").expect("well"), None);
}
