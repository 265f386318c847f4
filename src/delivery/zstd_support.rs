//! Which nodes can pull layers that are compressed with zstd. Pure.

use super::route::ClusterFacts;

/// The first node whose runtime cannot: Docker before 23 (20.10 takes the frames for a damaged tar), containerd before
/// 1.5. A runtime that is not known is taken to be able to.
pub(super) fn node_without_zstd(cluster: &ClusterFacts) -> Option<(&str, &str)> {
    cluster
        .nodes
        .iter()
        .find(|node| !reads_zstd(&node.runtime))
        .map(|node| (node.name.as_str(), node.runtime.as_str()))
}

/// `runtime` as nodes tell it: `docker://20.10.24`.
fn reads_zstd(runtime: &str) -> bool {
    let Some((name, version)) = runtime.split_once("://") else {
        return true;
    };
    let mut numbers = version
        .trim_start_matches('v')
        .split(['.', '-', '+'])
        .map_while(|part| part.parse::<u32>().ok());
    let Some(major) = numbers.next() else {
        return true;
    };
    let minor = numbers.next().unwrap_or(0);
    match name {
        "docker" => (major, minor) >= (23, 0),
        "containerd" => (major, minor) >= (1, 5),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_runtimes_do_not_read_zstd() {
        for (runtime, reads) in [
            ("docker://20.10.24+dfsg1", false),
            ("docker://23.0.0", true),
            ("docker://28.2.2", true),
            ("containerd://1.4.13", false),
            ("containerd://1.5.0-beta.1", true),
            ("containerd://1.7.24-k3s1", true),
            ("containerd://v2.0.0", true),
            ("cri-o://1.20.0", true),
            ("docker://unknown", true),
            ("", true),
        ] {
            assert_eq!(reads_zstd(runtime), reads, "{runtime}");
        }
    }
}
