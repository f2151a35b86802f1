//! PostgREST's older path language.

use serde_json::Value;

use super::error::RolePathError;

/// A path of this language.
#[derive(Clone)]
pub(super) struct Steps {
    steps: Vec<Step>,
    filter: Option<Filter>,
}

#[derive(Clone)]
enum Step {
    Key(Box<str>),
    Index(usize),
}

#[derive(Clone)]
struct Filter {
    operator: Operator,
    text: Box<str>,
}

#[derive(Clone, Copy)]
enum Operator {
    Equals,
    Differs,
    StartsWith,
    EndsWith,
    Contains,
}

impl Steps {
    pub(super) fn parse(text: &str) -> Result<Self, RolePathError> {
        let mut cursor = Cursor { text, position: 0 };
        let mut path = Self {
            steps: Vec::new(),
            filter: None,
        };
        while !cursor.rest().is_empty() {
            if path.filter.is_some() {
                return Err(cursor.expected("the end: a filter is the last step"));
            } else if cursor.eat(".\"") {
                path.steps.push(Step::Key(cursor.quoted()?.into()));
            } else if cursor.eat(".") {
                path.steps.push(Step::Key(cursor.bare_key()?.into()));
            } else if cursor.eat("[?(@") {
                path.filter = Some(cursor.filter()?);
            } else if cursor.eat("[") {
                path.steps.push(Step::Index(cursor.index()?));
            } else {
                return Err(cursor.expected("`.`, `[` or the end"));
            }
        }
        Ok(path)
    }

    /// Returns the name, where the path is nothing but the name of a top-level member.
    pub(super) fn as_member(&self) -> Option<&str> {
        match (&*self.steps, &self.filter) {
            ([Step::Key(name)], None) => Some(name),
            _ => None,
        }
    }

    pub(super) fn walk<'v>(&self, claims: &'v Value) -> Option<&'v Value> {
        self.walk_all(claims).next()
    }

    /// As [`walk`](Self::walk), with all that a filter lets through.
    pub(super) fn walk_all<'v>(&self, claims: &'v Value) -> impl Iterator<Item = &'v Value> {
        let node = self.steps.iter().try_fold(claims, |node, step| match step {
            Step::Key(key) => node.as_object()?.get(&**key),
            Step::Index(index) => node.as_array()?.get(*index),
        });
        let (one, elements) = match &self.filter {
            None => (node, None),
            Some(_) => (None, node.and_then(Value::as_array)),
        };
        let accepts = |text| {
            self.filter
                .as_ref()
                .is_some_and(|filter| filter.accepts(text))
        };
        let found = elements.into_iter().flatten();
        let found = found.filter(move |item| item.as_str().is_some_and(accepts));
        one.into_iter().chain(found)
    }
}

impl Filter {
    fn accepts(&self, text: &str) -> bool {
        match self.operator {
            Operator::Equals => text == &*self.text,
            Operator::Differs => text != &*self.text,
            Operator::StartsWith => text.starts_with(&*self.text),
            Operator::EndsWith => text.ends_with(&*self.text),
            Operator::Contains => text.contains(&*self.text),
        }
    }
}

struct Cursor<'t> {
    text: &'t str,
    position: usize,
}

impl<'t> Cursor<'t> {
    fn bare_key(&mut self) -> Result<&'t str, RolePathError> {
        let key = self.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '@'));
        if key.is_empty() {
            return Err(self.expected("a name, or a `\"` before a name with other characters"));
        }
        if !self.rest().is_empty() && !self.rest().starts_with(['.', '[']) {
            return Err(self.expected(
                "`.`, `[` or the end: a name with other characters stands in quotes, as in `.\"some-name\"`",
            ));
        }
        Ok(key)
    }

    /// Reads the text after a `"`, and the `"` that ends it.
    fn quoted(&mut self) -> Result<&'t str, RolePathError> {
        let text = self.take_while(|c| c != '"');
        self.require("\"", "a closing `\"`")?;
        Ok(text)
    }

    fn index(&mut self) -> Result<usize, RolePathError> {
        let start = self.position;
        let digits = self.take_while(|c| c.is_ascii_digit());
        if digits.is_empty() {
            return Err(self.expected("digits, or a filter such as `[?(@ == \"text\")]`"));
        }
        let index = digits
            .parse()
            .map_err(|_| RolePathError::new(start, "a smaller index"))?;
        self.require("]", "a digit or `]`")?;
        Ok(index)
    }

    fn filter(&mut self) -> Result<Filter, RolePathError> {
        self.skip_space();
        // `==^` before `==`, which is its beginning.
        let operator = [
            ("==^", Operator::EndsWith),
            ("==", Operator::Equals),
            ("!=", Operator::Differs),
            ("^==", Operator::StartsWith),
            ("*==", Operator::Contains),
        ]
        .into_iter()
        .find_map(|(sign, operator)| self.eat(sign).then_some(operator))
        .ok_or_else(|| self.expected("`==`, `!=`, `^==`, `==^` or `*==`"))?;
        self.skip_space();
        self.require("\"", "a text in `\"`")?;
        let text = self.quoted()?.into();
        self.require(")]", "`)]`")?;
        Ok(Filter { operator, text })
    }

    fn rest(&self) -> &'t str {
        &self.text[self.position..]
    }

    fn eat(&mut self, sign: &str) -> bool {
        let found = self.rest().starts_with(sign);
        if found {
            self.position += sign.len();
        }
        found
    }

    fn require(&mut self, sign: &str, expected: &'static str) -> Result<(), RolePathError> {
        if self.eat(sign) {
            Ok(())
        } else {
            Err(self.expected(expected))
        }
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.position += end;
        &rest[..end]
    }

    fn skip_space(&mut self) {
        self.take_while(char::is_whitespace);
    }

    fn expected(&self, expected: &'static str) -> RolePathError {
        RolePathError::new(self.position, expected)
    }
}
