//! Each guard of the SQL, and what is open without it.

use super::{
    ALICE, AUDITOR, BOB, CHEAP, INVOKER, NOTES, PROJECTS, REAL, SIMULATED, Tenants, is, without,
};

/// One line of the SQL.
struct Guard {
    /// What is taken out, and what stands there then.
    line: &'static str,
    mutated: &'static str,
    who: Option<&'static str>,
    /// What is tried.
    sql: &'static str,
    /// What is answered with the line, and without it.
    held: &'static str,
    open: &'static str,
}

const SLUGS: &str = "SELECT slug FROM projects ORDER BY slug";
const TITLES: &str = "SELECT title FROM tasks ORDER BY title";

const TENANT: &str = "\
CREATE POLICY tenant ON projects AS RESTRICTIVE
    USING (tenant = (SELECT jwt_claim('tenant')))
    WITH CHECK (tenant = (SELECT jwt_claim('tenant')));";
const TENANT_UNCHECKED: &str = "\
CREATE POLICY tenant ON projects AS RESTRICTIVE
    USING (tenant = (SELECT jwt_claim('tenant')))
    WITH CHECK (true);";

const OF_REAL: &[Guard] = &[
    Guard {
        line: "ALTER TABLE projects ENABLE ROW LEVEL SECURITY;",
        mutated: "",
        who: ALICE,
        sql: SLUGS,
        held: "a1, a2, b2",
        open: "a1, a2, b1, b2, e1, e2",
    },
    Guard {
        line: "ALTER TABLE tasks ENABLE ROW LEVEL SECURITY;",
        mutated: "",
        who: ALICE,
        sql: TITLES,
        held: "a1-task, a2-task, b2-task",
        open: "a1-task, a2-task, b1-task, b2-task, e1-task, e2-task",
    },
    Guard {
        line: "ALTER TABLE projects FORCE ROW LEVEL SECURITY;",
        mutated: "",
        who: ALICE,
        sql: "SELECT project_count()::text",
        held: "4",
        open: "6",
    },
    Guard {
        line: "ALTER TABLE tasks FORCE ROW LEVEL SECURITY;",
        mutated: "",
        who: ALICE,
        sql: "SELECT task_count()::text",
        held: "4",
        open: "6",
    },
    // Permissive, it is joined by OR: who is of the tenant sees all of it, and what others share.
    Guard {
        line: "CREATE POLICY tenant ON projects AS RESTRICTIVE",
        mutated: "CREATE POLICY tenant ON projects",
        who: ALICE,
        sql: SLUGS,
        held: "a1, a2, b2",
        open: "a1, a2, b1, b2, e2",
    },
    Guard {
        line: "CREATE POLICY tenant ON tasks AS RESTRICTIVE",
        mutated: "CREATE POLICY tenant ON tasks",
        who: ALICE,
        sql: TITLES,
        held: "a1-task, a2-task, b2-task",
        open: "a1-task, a2-task, b1-task, b2-task",
    },
    // The move of a row to another tenant. A statement that reads nothing asks no policy for SELECT.
    Guard {
        line: TENANT,
        mutated: TENANT_UNCHECKED,
        who: ALICE,
        sql: "DELETE FROM tasks;; UPDATE projects SET tenant = 'umbrella'",
        held: "42501 new row violates row-level security policy \"tenant\"",
        open: "",
    },
    Guard {
        line: TENANT,
        mutated: TENANT_UNCHECKED,
        who: ALICE,
        sql: "INSERT INTO projects (tenant, slug) VALUES ('umbrella', 'planted')",
        held: "42501 new row violates row-level security policy \"tenant\"",
        open: "",
    },
    Guard {
        line: "    WITH CHECK (owner = (SELECT jwt_claim('sub')));",
        mutated: "    WITH CHECK (true);",
        who: ALICE,
        sql: "INSERT INTO projects (owner, slug) VALUES ('bob', 'in the name of bob')",
        held: "42501 new row violates row-level security policy",
        open: "",
    },
    Guard {
        line: "    WITH CHECK (shared);",
        mutated: "    WITH CHECK (true);",
        who: ALICE,
        sql: "UPDATE projects SET shared = false",
        held: "42501 new row violates row-level security policy",
        open: "",
    },
    // A key of one's own choice: it tells which keys others have, and is in the way of the ones that they get.
    Guard {
        line: "INSERT (tenant, owner, slug, shared)",
        mutated: "INSERT",
        who: ALICE,
        sql: "INSERT INTO projects (id, slug) OVERRIDING SYSTEM VALUE VALUES (5, 'mine')",
        held: "42501 permission denied for table projects",
        open: "23505 duplicate key value violates unique constraint \"projects_pkey\"",
    },
    // USING of one policy and WITH CHECK of another.
    Guard {
        line: "UPDATE (tenant, slug, shared)",
        mutated: "UPDATE",
        who: ALICE,
        sql: "UPDATE projects SET owner = 'alice' WHERE slug = 'b2' RETURNING owner || ' has ' || slug",
        held: "42501 permission denied for table projects",
        open: "alice has b2",
    },
    Guard {
        line: "    USING (EXISTS (SELECT FROM projects p WHERE p.id = tasks.project))",
        mutated: "    USING (true)",
        who: ALICE,
        sql: TITLES,
        held: "a1-task, a2-task, b2-task",
        open: "a1-task, a2-task, b1-task, b2-task",
    },
    Guard {
        line: "    WITH CHECK (EXISTS (SELECT FROM projects p WHERE p.id = tasks.project));",
        mutated: "    WITH CHECK (true);",
        who: ALICE,
        sql: "INSERT INTO tasks (project, title) VALUES (3, 'on a project of bob')",
        held: "42501 new row violates row-level security policy",
        open: "",
    },
    // No policy is asked.
    Guard {
        line: "GRANT SELECT, INSERT (project, title), UPDATE (title), DELETE ON tasks",
        mutated: "GRANT ALL ON tasks",
        who: ALICE,
        sql: "TRUNCATE tasks",
        held: "42501 permission denied for table tasks",
        open: "",
    },
    // Names are free or taken by oneself's tenant, or the constraint tells what others have.
    Guard {
        line: "UNIQUE (tenant, slug),",
        mutated: "UNIQUE (slug),",
        who: ALICE,
        sql: "INSERT INTO projects (slug) VALUES ('e1') RETURNING slug",
        held: "e1",
        open: "23505",
    },
    Guard {
        line: "REVOKE EXECUTE ON FUNCTION project_count() FROM PUBLIC;",
        mutated: "",
        who: AUDITOR,
        sql: "SELECT project_count()::text",
        held: "42501 permission denied for function",
        open: "4",
    },
];

const SEE_PAYROLL: &str = "SELECT total::text FROM payroll WHERE cheap(total)";
const PLANT_STAFF: &str =
    "INSERT INTO staff (tenant, name, salary) VALUES ('umbrella', 'mole', 1) RETURNING tenant";
const TAKE_NOTE: &str =
    "INSERT INTO notes (id, slug, body) OVERRIDING SYSTEM VALUE VALUES (3, 'mine', '')
    ON CONFLICT (id) DO UPDATE SET tenant = 'acme', owner = 'alice', slug = 'mine' RETURNING body";
const TRIGGER_CHECK: &str =
    "IF TG_OP <> 'DELETE' AND (NEW.tenant = public.jwt_claim('tenant')) IS NOT TRUE THEN";

const OF_SIMULATED: &[Guard] = &[
    Guard {
        line: "CREATE VIEW notes WITH (security_barrier = true)",
        mutated: "CREATE VIEW notes",
        who: ALICE,
        sql: "SELECT body FROM notes WHERE cheap(body)",
        held: "of alice",
        open: "P0001 seen: secret of bob",
    },
    Guard {
        line: "CREATE VIEW payroll WITH (security_barrier = true)",
        mutated: "CREATE VIEW payroll",
        who: ALICE,
        sql: SEE_PAYROLL,
        held: "100",
        open: "P0001 seen: 666",
    },
    Guard {
        line: "CREATE VIEW staff WITH (security_barrier = true)",
        mutated: "CREATE VIEW staff",
        who: ALICE,
        sql: "SELECT name FROM staff WHERE cheap(name)",
        held: "ann",
        open: "P0001 seen: secret una",
    },
    Guard {
        line: "    WHERE tenant = (SELECT jwt_claim('tenant')) AND owner = (SELECT jwt_claim('sub'))",
        mutated: "    WHERE tenant = (SELECT jwt_claim('tenant'))",
        who: ALICE,
        sql: "SELECT body FROM notes ORDER BY id",
        held: "of alice",
        open: "of alice, secret of bob",
    },
    Guard {
        line: "    WHERE p.tenant = (SELECT jwt_claim('tenant'));",
        mutated: ";",
        who: ALICE,
        sql: "SELECT name FROM staff ORDER BY id",
        held: "ann",
        open: "ann, secret una",
    },
    Guard {
        line: "    WHERE tenant = (SELECT jwt_claim('tenant'));",
        mutated: ";",
        who: ALICE,
        sql: "SELECT total::text FROM payroll ORDER BY total",
        held: "100",
        open: "100, 666",
    },
    Guard {
        line: "    WITH CASCADED CHECK OPTION;",
        mutated: ";",
        who: ALICE,
        sql: "INSERT INTO notes (tenant, owner, slug, body) VALUES ('umbrella', 'eve', 'n2', 'planted') RETURNING tenant",
        held: "44000 new row violates check option for view \"notes\"",
        open: "umbrella",
    },
    // Past the view's condition to the row with that key.
    Guard {
        line: "INSERT (tenant, owner, slug, body), UPDATE (slug, body)",
        mutated: "INSERT, UPDATE",
        who: ALICE,
        sql: TAKE_NOTE,
        held: "42501 permission denied for view notes",
        open: "secret of eve",
    },
    // What the CHECK OPTION then refuses, its error tells.
    Guard {
        line: "INSERT (tenant, owner, slug, body), UPDATE (slug, body)",
        mutated: "INSERT, UPDATE (slug, body)",
        who: ALICE,
        sql: "INSERT INTO notes (id, slug, body) OVERRIDING SYSTEM VALUE VALUES (3, 'mine', '')
              ON CONFLICT (id) DO UPDATE SET slug = 'mine'",
        held: "42501 permission denied for view notes",
        open: "44000 new row violates check option for view \"notes\"; Failing row contains (id, slug, body) = (3, mine, secret of eve)",
    },
    Guard {
        line: "CREATE SCHEMA private AUTHORIZATION :\"owner\";",
        mutated: "CREATE SCHEMA private AUTHORIZATION :\"owner\"; GRANT USAGE ON SCHEMA private TO :\"web_user\";
                  ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO :\"web_user\";",
        who: ALICE,
        sql: "SELECT body FROM private.notes ORDER BY id",
        held: "42501 permission denied for schema private",
        open: "of alice, secret of bob, secret of eve",
    },
    Guard {
        line: TRIGGER_CHECK,
        mutated: "IF false THEN",
        who: ALICE,
        sql: PLANT_STAFF,
        held: "42501 the new row is not of your tenant",
        open: "umbrella",
    },
    Guard {
        line: TRIGGER_CHECK,
        mutated: "IF false THEN",
        who: ALICE,
        sql: "UPDATE staff SET tenant = 'umbrella' RETURNING tenant",
        held: "42501 the new row is not of your tenant",
        open: "umbrella",
    },
    // A claim that is missing is equal to nothing, and different from nothing.
    Guard {
        line: TRIGGER_CHECK,
        mutated: "IF TG_OP <> 'DELETE' AND NEW.tenant <> public.jwt_claim('tenant') THEN",
        who: super::NOBODY,
        sql: PLANT_STAFF,
        held: "42501 the new row is not of your tenant",
        open: "umbrella",
    },
    // An operator of the caller's, in a schema of the caller's.
    Guard {
        line: "    SET search_path = pg_catalog, pg_temp\n",
        mutated: "",
        who: ALICE,
        sql: "SET LOCAL search_path = evil, public, pg_catalog;; \
              INSERT INTO staff (tenant, name, salary) VALUES ('umbrella', 'mole', 1) RETURNING tenant",
        held: "42501 the new row is not of your tenant",
        open: "umbrella",
    },
];

/// What the guards' tests need beside the files.
const TASK_COUNT: &str = "
    CREATE FUNCTION task_count() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp RETURN (SELECT count(*) FROM tasks);
    ALTER FUNCTION task_count() OWNER TO :\"owner\";";
const EVIL: &str = "
    CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC;
    CREATE FUNCTION evil.yes(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE OPERATOR evil.= (FUNCTION = evil.yes, LEFTARG = text, RIGHTARG = text);";

async fn check(guards: &[Guard], sql: &str, rest: &[&str]) {
    let start = async |sql: &str| {
        let all: Vec<&str> = std::iter::once(sql).chain(rest.iter().copied()).collect();
        Tenants::new(&all).await
    };
    let with = start(sql).await;
    for guard in guards {
        let Guard {
            line,
            who,
            sql: tried,
            held,
            open,
            ..
        } = guard;
        let found = with.ask(*who, tried).await;
        assert!(is(&found, held), "{line}: {tried}\n{found:?}, not {held:?}");
        let mutated = start(&without(sql, 1, line, guard.mutated)).await;
        let found = mutated.ask(*who, tried).await;
        assert!(
            is(&found, open),
            "without {line}: {tried}\n{found:?}, not {open:?}"
        );
    }
}

const REST_OF_REAL: &[&str] = &[TASK_COUNT, PROJECTS];
const REST_OF_SIMULATED: &[&str] = &[NOTES, EVIL, CHEAP];

#[tokio::test]
async fn each_line_of_the_policies_holds_what_is_open_without_it() {
    check(&OF_REAL[..8], REAL, REST_OF_REAL).await;
}

#[tokio::test]
async fn each_line_of_the_grants_and_constraints_holds_what_is_open_without_it() {
    check(&OF_REAL[8..], REAL, REST_OF_REAL).await;
}

#[tokio::test]
async fn each_line_of_the_views_holds_what_is_open_without_it() {
    check(&OF_SIMULATED[..7], SIMULATED, REST_OF_SIMULATED).await;
}

#[tokio::test]
async fn each_line_of_the_views_grants_and_triggers_holds_what_is_open_without_it() {
    check(&OF_SIMULATED[7..], SIMULATED, REST_OF_SIMULATED).await;
}

/// Two guards hold the same: where a policy lets tasks of any project in, the key still needs one of the tenant.
#[tokio::test]
async fn a_foreign_key_without_the_tenant_tells_what_others_have() {
    let unchecked = without(
        REAL,
        1,
        "    WITH CHECK (EXISTS (SELECT FROM projects p WHERE p.id = tasks.project));",
        "    WITH CHECK (true);",
    );
    let other_key = "FOREIGN KEY (project) REFERENCES projects (id)";
    let key = "FOREIGN KEY (tenant, project) REFERENCES projects (tenant, id)";
    let there = "INSERT INTO tasks (project, title) VALUES (5, 'on a project of eve')";
    let nowhere = "INSERT INTO tasks (project, title) VALUES (99, 'on none')";

    let with = Tenants::new(&[&unchecked, PROJECTS]).await;
    with.check(&[(ALICE, there, "23503"), (ALICE, nowhere, "23503")])
        .await;
    let mutated = without(&unchecked, 1, key, other_key);
    let mutated = Tenants::new(&[&mutated, PROJECTS]).await;
    mutated
        .check(&[(ALICE, there, ""), (ALICE, nowhere, "23503")])
        .await;
}

/// Before PostgreSQL 15 every view is what is shown second here.
#[tokio::test]
async fn a_view_that_runs_as_its_owner_shows_what_its_owner_sees() {
    let list = "SELECT slug FROM project_list ORDER BY slug";
    let with = Tenants::new(&[REAL, PROJECTS]).await;
    if with.version().await >= 15 {
        let sql = super::named(INVOKER, &with.database);
        with.database.execute(&sql).await;
        with.check(&[
            (ALICE, list, "a1, a2, b2"),
            (BOB, list, "a2, b1, b2"),
            (AUDITOR, list, "42501 permission denied for view"),
        ])
        .await;
    } else {
        let sql = super::named(INVOKER, &with.database);
        let error = with.database.admin().await.batch_execute(&sql).await;
        let error = error.expect_err("there is no such option").to_string();
        assert!(error.contains("db error"), "{error}");
    }

    let mutated = without(INVOKER, 1, " WITH (security_invoker = true)", "");
    let as_owner = Tenants::new(&[REAL, &mutated, PROJECTS]).await;
    as_owner.check(&[(ALICE, list, "a1, a2, b1, b2")]).await;
    let unforced = without(
        REAL,
        1,
        "ALTER TABLE projects FORCE ROW LEVEL SECURITY;",
        "",
    );
    let as_owner = Tenants::new(&[&unforced, &mutated, PROJECTS]).await;
    as_owner
        .check(&[(ALICE, list, "a1, a2, b1, b2, e1, e2")])
        .await;
    // What the pool finds, where it is asked to look.
    let pool = as_owner.database.pool_builder().check_tables(true);
    let error = pool.build().await.expect_err("it is found");
    assert!(error.to_string().contains("project_list"), "{error}");
}

/// A function is called on rows that policies hide once a superuser has called it LEAKPROOF.
#[tokio::test]
async fn a_function_that_lies_about_being_leakproof_sees_all_rows() {
    let see = "SELECT slug FROM projects WHERE cheap(slug) ORDER BY slug";
    let tenants = Tenants::new(&[REAL, PROJECTS, CHEAP]).await;
    tenants.check(&[(ALICE, see, "a1, a2, b2")]).await;
    let leakproof = "ALTER FUNCTION cheap(text) LEAKPROOF";
    tenants.database.execute(leakproof).await;
    tenants.check(&[(ALICE, see, "P0001 seen: b1")]).await;
}
