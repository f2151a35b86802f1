//! Prepared statements, kept for each connection **and role**.
//!
//! PostgreSQL checks `USAGE` on a schema when a statement is parsed, not when it is executed: a statement that one role
//! prepared would let another role through.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::{Equivalent, unsync};
use tokio_postgres::{Column, Statement, types::Type};

use crate::role::RoleName;

/// What is kept under a role and a statement's text, and the least recently useful of it given up beyond a capacity.
struct PerRole<V>(Option<unsync::Cache<Key, V>>);

#[derive(Clone)]
struct Key {
    role: RoleName,
    sql: Box<str>,
}

/// A key that is only looked up, so that looking up allocates nothing.
struct KeyRef<'a> {
    role: &'a RoleName,
    sql: &'a str,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.role == other.role && self.sql == other.sql
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.role.hash(state);
        self.sql.hash(state);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.role.hash(state);
        self.sql.hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.role == key.role && *self.sql == *key.sql
    }
}

impl<V: Clone> PerRole<V> {
    fn new(capacity: usize) -> Self {
        Self((capacity > 0).then(|| unsync::Cache::new(capacity)))
    }

    fn get(&self, role: &RoleName, sql: &str) -> Option<V> {
        self.0.as_ref()?.get(&KeyRef { role, sql }).cloned()
    }

    fn insert(&mut self, role: &RoleName, sql: &str, value: V) {
        if let Some(cache) = &mut self.0 {
            cache.insert(
                Key {
                    role: role.clone(),
                    sql: sql.into(),
                },
                value,
            );
        }
    }

    fn remove(&mut self, role: &RoleName, sql: &str) {
        if let Some(cache) = &mut self.0 {
            cache.remove(&KeyRef { role, sql });
        }
    }
}

/// The statements that one connection has prepared. Dropping one closes it on the server.
pub(crate) struct Statements(Mutex<PerRole<Statement>>);

impl Statements {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Mutex::new(PerRole::new(capacity)))
    }

    pub(crate) fn get(&self, role: &RoleName, sql: &str) -> Option<Statement> {
        self.lock().get(role, sql)
    }

    pub(crate) fn insert(&self, role: &RoleName, sql: &str, statement: Statement) {
        self.lock().insert(role, sql, statement);
    }

    pub(crate) fn remove(&self, role: &RoleName, sql: &str) {
        self.lock().remove(role, sql);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, PerRole<Statement>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// PostgreSQL sends a longer description of columns in parts of 8 KiB, and the second one not before there are rows: the
/// driver would seem to ask for types meanwhile.
const WHOLE_DESCRIPTION: usize = 8000;

/// The parameter types of statements that any connection of the pool has prepared.
///
/// A connection that meets such a statement for the first time can send it at once, with its types, instead of asking
/// for them first. Only statements are remembered whose parameters and columns are all of PostgreSQL's own types: others
/// can be dropped and made anew, and the driver asks for them on the same connection, where the answer would stand behind
/// all of the statement's rows, which nobody reads meanwhile.
pub(crate) struct ParameterTypes(Mutex<PerRole<Arc<[Type]>>>);

impl ParameterTypes {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Mutex::new(PerRole::new(capacity)))
    }

    pub(crate) fn get(&self, role: &RoleName, sql: &str) -> Option<Arc<[Type]>> {
        self.lock().get(role, sql)
    }

    /// Remembers the types, if they can be, and says whether.
    pub(crate) fn insert(&self, role: &RoleName, sql: &str, statement: &Statement) -> bool {
        let columns = statement.columns().iter().map(Column::type_);
        let mut types = statement.params().iter().chain(columns);
        let described = statement.columns().iter();
        let described: usize = described.map(|column| column.name().len() + 19).sum();
        let remembered =
            described < WHOLE_DESCRIPTION && types.all(|ty| Type::from_oid(ty.oid()).is_some());
        if remembered {
            self.lock().insert(role, sql, statement.params().into());
        }
        remembered
    }

    pub(crate) fn remove(&self, role: &RoleName, sql: &str) {
        self.lock().remove(role, sql);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, PerRole<Arc<[Type]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
