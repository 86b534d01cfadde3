//! Names of nodes, topics and services, resolved as ROS 2 does.

use std::fmt;

/// A name that ROS 2 would refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {kind} {name:?}: {reason}")]
pub struct NameError {
    /// `node name`, `namespace`, or `topic or service name`.
    pub kind: &'static str,
    /// The name as given.
    pub name: String,
    /// Which rule it breaks.
    pub reason: &'static str,
}

/// Name and namespace of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeName {
    namespace: String,
    name: String,
}

impl NodeName {
    /// `namespace` may lack its leading slash; empty and `/` are the root.
    ///
    /// # Errors
    /// [`NameError`] when either breaks the naming rules of ROS 2.
    pub fn new(namespace: &str, name: &str) -> Result<Self, NameError> {
        let error = |kind, given: &str, reason| NameError { kind, name: given.to_owned(), reason };
        check_token(name).map_err(|reason| error("node name", name, reason))?;
        let relative = namespace.strip_prefix('/').unwrap_or(namespace);
        if relative.is_empty() {
            return Ok(Self { namespace: "/".to_owned(), name: name.to_owned() });
        }
        for token in relative.split('/') {
            check_token(token).map_err(|reason| error("namespace", namespace, reason))?;
        }
        Ok(Self { namespace: format!("/{relative}"), name: name.to_owned() })
    }

    /// Name without namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Namespace with leading slash, `/` for the root.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Namespace and name, e.g. `/cell_1/vjepa_planner`.
    pub fn fully_qualified(&self) -> String {
        join(&self.namespace, &self.name)
    }

    /// The absolute name of a topic or service: `/x` stays, `x` goes into the namespace, `~/x` below the node;
    /// `{node}`, `{ns}` and `{namespace}` are replaced.
    ///
    /// # Errors
    /// [`NameError`] when the name breaks the naming rules of ROS 2.
    pub fn resolve(&self, name: &str) -> Result<String, NameError> {
        let error = |reason| NameError { kind: "topic or service name", name: name.to_owned(), reason };
        let relative_namespace = self.namespace.trim_start_matches('/');
        let expanded = name
            .replace("{node}", &self.name)
            .replace("{namespace}", relative_namespace)
            .replace("{ns}", relative_namespace);
        let absolute = if expanded == "~" {
            self.fully_qualified()
        } else if let Some(rest) = expanded.strip_prefix("~/") {
            join(&self.fully_qualified(), rest)
        } else if expanded.starts_with('~') {
            return Err(error("after ~ a slash must follow"));
        } else if expanded.starts_with('/') {
            expanded
        } else {
            join(&self.namespace, &expanded)
        };
        for token in absolute.split('/').skip(1) {
            check_token(token).map_err(error)?;
        }
        Ok(absolute)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fully_qualified())
    }
}

fn join(namespace: &str, name: &str) -> String {
    if namespace == "/" { format!("/{name}") } else { format!("{namespace}/{name}") }
}

fn check_token(token: &str) -> Result<(), &'static str> {
    match token.chars().next() {
        None => Err("a part of it is empty"),
        Some(first) if first.is_ascii_digit() => Err("a part of it begins with a digit"),
        Some(_) if !token.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
            Err("only letters, digits and underscores are allowed between slashes")
        }
        Some(_) if token.contains("__") => Err("two underscores follow each other"),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_resolve_as_in_ros() {
        let node = NodeName::new("cell_1", "planner").unwrap();
        assert_eq!(node.fully_qualified(), "/cell_1/planner");
        assert_eq!(node.resolve("/camera/image_raw").unwrap(), "/camera/image_raw");
        assert_eq!(node.resolve("joint_states").unwrap(), "/cell_1/joint_states");
        assert_eq!(node.resolve("~/status").unwrap(), "/cell_1/planner/status");
        assert_eq!(node.resolve("/{ns}/{node}/x").unwrap(), "/cell_1/planner/x");
        let root = NodeName::new("", "planner").unwrap();
        assert_eq!(root.namespace(), "/");
        assert_eq!(root.resolve("joint_states").unwrap(), "/joint_states");
        assert_eq!(root.resolve("~/status").unwrap(), "/planner/status");
    }

    #[test]
    fn bad_names_are_refused_by_name() {
        let node = NodeName::new("/", "planner").unwrap();
        for bad in ["", "/", "a//b", "a/", "1a", "a b", "~x", "a__b", "ä", "{other}"] {
            let error = node.resolve(bad).unwrap_err();
            assert_eq!(error.name, bad);
        }
        assert!(NodeName::new("/", "a/b").is_err());
        assert!(NodeName::new("//x", "a").is_err());
        assert!(NodeName::new("/", "").is_err());
    }
}
