//! `examples/soak.rs`: it passes, and where something is wrong it fails.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio_postgres::NoTls;

use crate::support::example::Example;
use crate::support::files::TemporaryDirectory;
use crate::support::local_postgres::{self, LocalPostgres};
use crate::support::processes::{assert_gone, end_with};
use program::audit::{Findings, Ledger, Outcome, Owner, StoredRow, Verdict, audit, judge};
use program::client::Answer;
use program::plan::Kind;
use program::report::Report;

#[allow(dead_code, reason = "what only the example uses")]
#[path = "../../examples/support/soak/mod.rs"]
mod program;

#[test]
fn the_soak_passes_with_chaos_and_leaves_nothing() {
    let directory = TemporaryDirectory::new("soak");
    let output = Example::command("soak")
        .args([
            "--seconds",
            "2",
            "--clients",
            "24",
            "--seed",
            "7",
            "--chaos",
        ])
        .env("ROLESCOPE_PG_DIR", directory.path())
        .output()
        .expect("the example starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{output:?}");
    for part in [
        "seed 7: 24 clients, 8 roles and 200 tenants for 2 s, with chaos",
        "write_last",
        "rows with a wrong owner",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("FAILED"), "{text}");
    assert_gone(directory.path());
    assert_eq!(directory.entries(), Vec::<PathBuf>::new());
}

#[test]
fn a_soak_that_is_interrupted_is_audited_all_the_same_and_leaves_nothing() {
    let directory = TemporaryDirectory::new("soak");
    let mut child = Example::command("soak")
        .args(["--minutes", "10", "--clients", "4"])
        .env("ROLESCOPE_PG_DIR", directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
    let first = lines.next().expect("a line").expect("it is text");
    assert!(first.starts_with("seed 7: "), "{first}");
    end_with("INT", &child.id().to_string());
    let rest: Vec<_> = lines.map(|line| line.expect("it is text")).collect();
    assert!(child.wait().expect("it ends").success(), "{rest:?}");
    assert!(
        rest.iter()
            .any(|line| line.contains("what the auditor found")),
        "{rest:?}"
    );
    assert_gone(directory.path());
    assert_eq!(directory.entries(), Vec::<PathBuf>::new());
}

// --- databases that are prepared wrong ---

/// Soaks a service on a database with a flaw, until each client has sent so many requests or `end` comes about.
async fn soak_with(flaw: &str, requests: i64, end: impl AsyncFnOnce(&LocalPostgres)) -> Report {
    let postgres = tokio::task::spawn_blocking(LocalPostgres::start)
        .await
        .expect("no panic")
        .expect("the server starts");
    let prepared = program::database::prepare(&postgres, flaw).await;
    prepared.expect("the database can be made");
    let options = program::Options {
        time: Duration::from_secs(60),
        seed: 7,
        clients: 8,
        requests,
        chaos: false,
    };
    let report = program::run(&postgres, &options, end(&postgres)).await;
    report.expect("it runs")
}

#[track_caller]
fn fails_for(report: &Report, reasons: &[&str]) {
    let failures = report.failures();
    for reason in reasons {
        let found = failures.iter().any(|failure| failure.contains(reason));
        assert!(found, "{reason}: {report}");
    }
    assert_eq!(failures.len(), reasons.len(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soak_without_policies_sees_rows_of_others() {
    let flaw = "ALTER TABLE notes DISABLE ROW LEVEL SECURITY;
         REVOKE ALL ON notes FROM clerks; GRANT SELECT ON notes TO clerks";
    let report = soak_with(flaw, 40, async |_| std::future::pending().await).await;
    // Writes are refused, too, which is not what they expect.
    fails_for(&report, &["foreign rows", "errors where"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soak_on_a_database_that_loses_and_doubles_rows_says_so() {
    let flaw = "
        ALTER ROLE authenticator SET app.left_behind = 'a setting';
        ALTER TABLE notes ALTER by_sub SET DEFAULT 'somebody';
        CREATE FUNCTION loses() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN IF NEW.request % 3 = 1 THEN RETURN NULL; END IF; RETURN NEW; END';
        CREATE TRIGGER loses BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION loses();
        CREATE FUNCTION doubles() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
            'BEGIN NEW.id := -NEW.id; INSERT INTO public.notes OVERRIDING SYSTEM VALUE VALUES (NEW.*); RETURN NULL; END';
        CREATE TRIGGER doubles AFTER INSERT ON notes FOR EACH ROW
            WHEN (NEW.request % 3 = 2 AND NEW.id > 0) EXECUTE FUNCTION doubles();
        INSERT INTO notes (request, part, asked_role, asked_sub, asked_tenant, by_role, by_sub, by_tenant)
            VALUES (9999999999999, 0, 'clerk_0', 'x', 0, 'clerk_0', 'x', 0)";
    let report = soak_with(flaw, 60, async |_| std::future::pending().await).await;
    for reason in [
        "wrong owner",
        "answered 2xx, and not there",
        "stored more than once",
        "nobody asked for",
        "cannot be true",
    ] {
        let failures = report.failures();
        let found = failures.iter().any(|failure| failure.contains(reason));
        assert!(found, "{reason}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_waits_in_a_transaction_is_seen() {
    let report = soak_with("", i64::MAX, async |postgres| {
        let url = postgres.url("authenticator", "soak");
        let (client, connection) = tokio_postgres::connect(&url, NoTls)
            .await
            .expect("it connects");
        let begin = async {
            let begin = "SET idle_in_transaction_session_timeout = '5 s'; BEGIN";
            client.batch_execute(begin).await.expect("it begins");
            std::future::pending::<()>().await
        };
        // Until the server has enough of it.
        tokio::select! {
            _ = connection => {}
            () = begin => {}
        }
    })
    .await;
    fails_for(&report, &["idle in transaction > 1 s"]);
}

// --- the auditor's own rules ---

fn row(request: i64) -> StoredRow {
    StoredRow {
        request,
        ..StoredRow::default()
    }
}

#[test]
fn the_auditor_finds_what_is_not_where_it_belongs() {
    let ledger = Ledger::from([
        (1, (1, Outcome::Stored)),
        (2, (2, Outcome::Stored)),
        (3, (1, Outcome::NotStored)),
        (4, (2, Outcome::Unknown)),
        (5, (2, Outcome::Unknown)),
    ]);
    let good = [1, 2, 2, 4, 4];
    let audited = |requests: &[i64]| audit(&ledger, requests.iter().copied().map(row));
    assert_eq!(audited(&good), Findings::default());
    assert!(audited(&good).failures().is_empty());

    let found = |requests: &[i64], findings: Findings| {
        assert_eq!(audited(requests), findings, "{requests:?}");
        assert_eq!(findings.failures().len(), 1);
    };
    let none = Findings::default;
    found(
        &[1, 2, 4, 4],
        Findings {
            missing: 1,
            ..none()
        },
    );
    found(
        &[2, 2],
        Findings {
            missing: 1,
            ..none()
        },
    );
    found(
        &[1, 1, 2, 2],
        Findings {
            too_often: 1,
            ..none()
        },
    );
    found(
        &[1, 2, 2, 5, 5, 5],
        Findings {
            too_often: 1,
            ..none()
        },
    );
    found(
        &[1, 2, 2, 3],
        Findings {
            in_spite_of_error: 1,
            ..none()
        },
    );
    found(&[1, 2, 2, 5], Findings { torn: 1, ..none() });
    found(
        &[1, 2, 2, 6],
        Findings {
            of_nobody: 1,
            ..none()
        },
    );

    let owner = |role: &str, sub: &str, tenant| Owner {
        role: role.to_owned(),
        sub: sub.to_owned(),
        tenant,
    };
    for by in [owner("b", "s", 1), owner("a", "t", 1), owner("a", "s", 2)] {
        let ledger = Ledger::from([(1, (1, Outcome::Stored))]);
        let stored = StoredRow {
            request: 1,
            asked: owner("a", "s", 1),
            by,
        };
        let findings = audit(&ledger, [stored]);
        assert_eq!(
            findings,
            Findings {
                wrong_owners: 1,
                ..none()
            }
        );
    }
}

#[test]
fn an_answer_means_what_it_says() {
    let came = |status, body: &str| Answer::Came(status, body.to_owned());
    for (kind, answer, expected) in [
        (
            Kind::Write,
            came(201, ""),
            (Outcome::Stored, Verdict::Expected),
        ),
        (
            Kind::Write,
            came(503, ""),
            (Outcome::NotStored, Verdict::Unexpected),
        ),
        (
            Kind::Write,
            came(500, r#"{"code":"commit_unknown"}"#),
            (Outcome::Unknown, Verdict::Unexpected),
        ),
        (
            Kind::Write,
            Answer::Lost(String::new()),
            (Outcome::Unknown, Verdict::Unexpected),
        ),
        (
            Kind::Write,
            Answer::Left,
            (Outcome::Unknown, Verdict::Expected),
        ),
        (
            Kind::Swallows,
            came(500, "{}"),
            (Outcome::NotStored, Verdict::Expected),
        ),
        (
            Kind::Swallows,
            came(201, ""),
            (Outcome::NotStored, Verdict::Lie),
        ),
        (
            Kind::Deferred,
            came(409, ""),
            (Outcome::NotStored, Verdict::Expected),
        ),
        (
            Kind::Deferred,
            came(400, ""),
            (Outcome::NotStored, Verdict::Unexpected),
        ),
    ] {
        assert_eq!(judge(kind, &answer), expected, "{kind:?} {answer:?}");
    }
}
