//! A small stack for the tests of this module and of those above it.

use std::collections::BTreeMap;

use crate::diagnostic::{SourceFile, Span};
use crate::stack::{ClusterTarget, Environment, Stack};
use crate::yaml::{Node, Value};

/// Stack `shop` in environment `local`, namespace `shop`, without services and secrets.
pub(crate) fn stack() -> Stack {
    let file = SourceFile::new("stack.yaml", "name: shop\n");
    let empty = Node {
        span: Span::start_of(&file),
        value: Value::Map(Vec::new()),
    };
    Stack {
        root: ".".into(),
        name: "shop".parse().unwrap(),
        values: empty.clone(),
        environment: Environment {
            name: "local".parse().unwrap(),
            span: Span::start_of(&file),
            cluster: ClusterTarget::Local,
            namespace: "shop".parse().unwrap(),
            registry: None,
            protected: false,
            values: empty,
            secrets: BTreeMap::new(),
        },
        services: BTreeMap::new(),
        disabled: BTreeMap::new(),
    }
}
