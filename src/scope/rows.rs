//! Rows in the number and shape that was asked for.

use tokio_postgres::Row;
use tokio_postgres::types::FromSqlOwned;

use crate::error::{Error, ErrorKind};

pub(super) fn one(rows: Vec<Row>) -> Result<Row, Error> {
    at_most_one(rows)?
        .ok_or_else(|| wrong_shape("a statement returned no row where one was expected"))
}

pub(super) fn at_most_one(mut rows: Vec<Row>) -> Result<Option<Row>, Error> {
    if rows.len() > 1 {
        return Err(wrong_shape(
            "a statement returned several rows where one was expected",
        ));
    }
    Ok(rows.pop())
}

pub(super) fn scalar<T: FromSqlOwned>(row: &Row) -> Result<T, Error> {
    if row.len() != 1 {
        return Err(wrong_shape(
            "a statement returned a number of columns other than one where a scalar was expected",
        ));
    }
    Ok(row.try_get(0)?)
}

fn wrong_shape(message: &'static str) -> Error {
    Error::new(ErrorKind::Statement, message)
}
