//! From the names in a token to one role.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::name::{RoleName, RoleNameError};
use super::named::{Named, NoName};

/// What names stand for, and which of them goes first.
#[derive(Clone, Default)]
pub(super) struct Pick {
    map: Option<Map>,
    preferred: Option<Vec<RoleName>>,
}

#[derive(Clone)]
enum Map {
    Table(HashMap<Box<str>, RoleName>),
    Fn(Arc<MapFn>),
}

type MapFn = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Pick {
    pub(super) fn prefer<I>(&mut self, roles: I) -> Result<(), RoleNameError>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let preferred = self.preferred.get_or_insert_default();
        for role in roles {
            preferred.push(RoleName::parse(role.as_ref())?);
        }
        Ok(())
    }

    pub(super) fn map<I, N, R>(&mut self, table: I) -> Result<(), RoleNameError>
    where
        I: IntoIterator<Item = (N, R)>,
        N: Into<Box<str>>,
        R: AsRef<str>,
    {
        let mut known = match self.map.take() {
            Some(Map::Table(known)) => known,
            _ => HashMap::new(),
        };
        for (name, role) in table {
            known.insert(name.into(), RoleName::parse(role.as_ref())?);
        }
        self.map = Some(Map::Table(known));
        Ok(())
    }

    pub(super) fn map_with(
        &mut self,
        role: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) {
        self.map = Some(Map::Fn(Arc::new(role)));
    }

    /// Whether a name is the role's own, and there is but one.
    pub(super) fn is_plain(&self) -> bool {
        self.map.is_none() && self.preferred.is_none()
    }

    /// Returns the one role that the names stand for.
    pub(super) fn role(&self, names: impl IntoIterator<Item: AsRef<str>>) -> Named {
        let mut picked: Option<(usize, RoleName)> = None;
        for name in names {
            let Some(role) = self.role_of(name.as_ref()).map_err(NoName::Name)? else {
                continue;
            };
            let Some(place) = self.place(&role) else {
                continue;
            };
            match &picked {
                Some((best, known)) if *best == place && *known != role => {
                    return Err(NoName::Several);
                }
                Some((best, _)) if *best <= place => {}
                _ => picked = Some((place, role)),
            }
        }
        Ok(picked.map(|(_, role)| role))
    }

    fn role_of(&self, name: &str) -> Result<Option<RoleName>, RoleNameError> {
        match (&self.map, &self.preferred) {
            (Some(Map::Table(table)), _) => Ok(table.get(name).cloned()),
            (Some(Map::Fn(role)), _) => role(name).map(|role| RoleName::parse(&role)).transpose(),
            // A name that is no role's is not one of these.
            (None, Some(preferred)) => {
                let mut preferred = preferred.iter();
                Ok(preferred.find(|role| role.as_str() == name).cloned())
            }
            (None, None) => RoleName::parse(name).map(Some),
        }
    }

    /// A role's place in the order. Without one all have the same.
    fn place(&self, role: &RoleName) -> Option<usize> {
        match &self.preferred {
            None => Some(0),
            Some(preferred) => preferred.iter().position(|known| known == role),
        }
    }
}

impl fmt::Debug for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pick = f.debug_struct("Pick");
        match &self.map {
            Some(Map::Table(table)) => pick.field("map", table),
            Some(Map::Fn(_)) => pick.field("map", &format_args!("a function")),
            None => &mut pick,
        };
        if let Some(preferred) = &self.preferred {
            pick.field("preferred", preferred);
        }
        pick.finish()
    }
}
