//! The table: descriptors of all parameters, in the order of their declaration.

use super::{Descriptor, Parameter, Place, Spec, Values};

/// Descriptors of all parameters, in the order of their declaration.
#[derive(Clone, Debug, Default)]
pub struct Table {
    entries: Vec<Descriptor>,
    groups: Vec<(String, &'static str)>,
}

impl Table {
    /// The parameters of `P`.
    pub fn of<P: Parameter>() -> Self {
        let mut table = Self::default();
        P::declare(&mut table, Place { name: "", description: "", spec: Spec::default() }, None);
        table
    }

    /// Adds a parameter.
    pub fn add(&mut self, descriptor: Descriptor) {
        self.entries.push(descriptor);
    }

    /// Adds a group; the root has no name.
    pub fn add_group(&mut self, name: &str, description: &'static str) {
        self.groups.push((name.to_owned(), description));
    }

    /// All descriptors; names with a segment in angle brackets are patterns.
    pub fn entries(&self) -> &[Descriptor] {
        &self.entries
    }

    /// The values that hold when none are given. Below a user's name there are none: they begin to hold with the first
    /// that is given there.
    pub fn defaults(&self) -> Values {
        let own = self.entries.iter().filter(|d| !d.is_pattern());
        own.filter_map(|d| Some((d.name.clone(), d.default.clone()?))).collect()
    }

    /// What the group of this name is; `None` when there is no such group.
    pub fn group(&self, name: &str) -> Option<&'static str> {
        self.groups.iter().find(|(known, _)| fits(known, name)).map(|(_, description)| description.trim())
    }

    /// The descriptor of `name`, also where a pattern allows it.
    pub fn find(&self, name: &str) -> Option<Descriptor> {
        let found = self.entries.iter().find(|d| d.name == name);
        let found = found.or_else(|| self.entries.iter().find(|d| d.is_named(name)));
        found.map(|d| Descriptor { name: name.to_owned(), ..d.clone() })
    }

    /// The known name nearest to one that is not known; `None` when all are far away.
    pub fn nearest(&self, unknown: &str) -> Option<&str> {
        let last = |name: &str| name.rsplit('.').next().map(str::to_owned);
        let far = |name: &str| strsim::damerau_levenshtein(name, unknown);
        let nearest = self.entries.iter().map(|d| d.name.as_str()).min_by_key(|name| far(name))?;
        if far(nearest) <= 2 + unknown.len() / 8 {
            return Some(nearest);
        }
        // The right name in the wrong group.
        let mut elsewhere = self.entries.iter().filter(|d| last(&d.name) == last(unknown));
        match (elsewhere.next(), elsewhere.next()) {
            (Some(only), None) => Some(&only.name),
            _ => None,
        }
    }
}

/// Whether `name` is `pattern`, whose segments in angle brackets stand for any one segment.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.split('.'), name.split('.'));
    loop {
        match (pattern.next(), name.next()) {
            (None, None) => return true,
            (Some(p), Some(n)) if p == n || p.starts_with('<') && !n.is_empty() => {}
            _ => return false,
        }
    }
}
