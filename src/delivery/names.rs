//! The two ways to write an image's name: Docker leaves out what it takes for granted, containerd writes it. Pure.

use oci_image::Reference;

use super::route::ClusterFacts;

/// As Docker shows it: `redis:7`, `seedling/birthday:1`, `r.example.com/team/a:1`.
pub(super) fn familiar(reference: &Reference) -> String {
    let whole = reference.to_string();
    let short = whole
        .strip_prefix("docker.io/library/")
        .or_else(|| whole.strip_prefix("docker.io/"));
    short.map_or_else(|| whole.clone(), str::to_owned)
}

/// Whether every node has said that it has the image, in whichever way its runtime names it.
pub(super) fn is_on_every_node(cluster: &ClusterFacts, reference: &Reference) -> bool {
    let names = [reference.to_string(), familiar(reference)];
    let nodes = &cluster.nodes;
    !nodes.is_empty()
        && nodes
            .iter()
            .all(|node| names.iter().any(|name| node.images.contains(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::NodeFacts;

    #[test]
    fn docker_leaves_out_its_own_registry() {
        for (text, short) in [
            ("redis:7", "redis:7"),
            ("docker.io/library/redis:7", "redis:7"),
            ("docker.io/seedling/a:1", "seedling/a:1"),
            ("r.example.com/seedling/a:1", "r.example.com/seedling/a:1"),
        ] {
            assert_eq!(familiar(&text.parse().unwrap()), short);
        }
    }

    #[test]
    fn nodes_name_an_image_either_way() {
        let cluster = |names: &[&str]| {
            let node = |name: &&str| NodeFacts {
                images: [(*name).to_owned()].into(),
                ..NodeFacts::default()
            };
            ClusterFacts {
                context: "there".into(),
                nodes: names.iter().map(node).collect(),
            }
        };
        let has =
            |names: &[&str]| is_on_every_node(&cluster(names), &"seedling/a:1".parse().unwrap());
        assert!(has(&["seedling/a:1"]));
        assert!(has(&["docker.io/seedling/a:1", "seedling/a:1"]));
        assert!(!has(&["docker.io/seedling/a:1", "other"]));
        assert!(!has(&["r.example.com/seedling/a:1"]));
        assert!(!has(&[]));
    }
}
