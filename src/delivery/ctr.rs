//! What is asked of `ctr`, the command line of containerd on a node, and how its answers read. Pure.

use std::collections::{BTreeMap, BTreeSet};

use oci_image::{Descriptor, Digest, Manifest};

/// The namespace of the kubelet's images.
const CTR: [&str; 3] = ["ctr", "--namespace", "k8s.io"];

/// What a containerd has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeContent {
    /// The manifests by name: `docker.io/seedling/birthday:…`, and `sha256:…` of the configuration.
    pub images: BTreeMap<String, Digest>,
    /// What it has stored.
    pub blobs: BTreeSet<Digest>,
}

/// Lists image names and the digests of their manifests.
pub(super) fn list_images() -> Vec<String> {
    command(&["images", "ls"])
}

/// Lists stored blobs.
pub(super) fn list_blobs() -> Vec<String> {
    command(&["content", "ls", "--quiet"])
}

/// Reads an OCI or docker archive from standard input and unpacks it, so that a layer that is not there is found now.
/// Without `--base-name` images get the names that the archive says. `--all-platforms`, as kind and k3d have it: an
/// image for a processor that the node emulates is taken, too.
pub(super) fn import(snapshotter: Option<&str>) -> Vec<String> {
    let mut arguments = vec!["images", "import", "--all-platforms"];
    if let Some(snapshotter) = snapshotter {
        arguments.extend(["--snapshotter", snapshotter]);
    }
    arguments.push("-");
    command(&arguments)
}

/// Forgets a name.
pub(super) fn remove(name: &str) -> Vec<String> {
    command(&["images", "rm", name])
}

/// Which snapshotter the kubelet's images are unpacked with: containerd's configuration, also as k3s writes it.
pub(super) fn show_config() -> Vec<String> {
    let script = "cat /var/lib/rancher/k3s/agent/etc/containerd/config.toml 2>/dev/null || containerd config dump";
    ["sh", "-c", script].map(str::to_owned).into()
}

impl NodeContent {
    /// From what [`list_images`] and [`list_blobs`] print.
    pub(super) fn read(images: &str, blobs: &str) -> Self {
        Self {
            images: images.lines().skip(1).filter_map(image).collect(),
            blobs: blobs
                .lines()
                .filter_map(|line| line.trim().parse().ok())
                .collect(),
        }
    }

    /// Whether nothing of the image needs to be sent. A name for this manifest alone does not count: an import that
    /// ended early leaves one without all of its layers.
    pub(super) fn has(&self, name: &str, manifest: &Descriptor, content: &Manifest) -> bool {
        match self.images.get(name) {
            Some(digest) if *digest == manifest.digest => self.missing(content).is_empty(),
            _ => self.has_config(name, &content.config.digest.to_string()),
        }
    }

    /// Whether the name belongs to the image with this configuration, whatever its layers are compressed with; so it
    /// is after `docker save`.
    pub(super) fn has_config(&self, name: &str, config: &str) -> bool {
        let named = self.images.get(name);
        named.is_some() && named == self.images.get(config)
    }

    /// The layers that are not there, each once.
    pub(super) fn missing<'a>(&self, content: &'a Manifest) -> Vec<&'a Descriptor> {
        let mut seen = self.blobs.clone();
        content
            .layers
            .iter()
            .filter(|layer| seen.insert(layer.digest))
            .collect()
    }

    /// After an import.
    pub(super) fn add(&mut self, name: &str, manifest: &Descriptor, content: &Manifest) {
        self.images.insert(name.to_owned(), manifest.digest);
        let layers = content.layers.iter().map(|layer| layer.digest);
        self.blobs
            .extend(layers.chain([manifest.digest, content.config.digest]));
    }
}

/// The snapshotter of a configuration of containerd (versions 2 and 3 of the format); `None` where it does not say.
pub(super) fn snapshotter(config: &str) -> Option<String> {
    let config: toml::Value = toml::from_str(config).ok()?;
    let plugins = config.get("plugins")?;
    let value = |path: &[&str]| {
        let found = path
            .iter()
            .try_fold(plugins, |value, key| value.get(*key))?;
        found.as_str().filter(|name| !name.is_empty())
    };
    value(&["io.containerd.cri.v1.images", "snapshotter"])
        .or_else(|| value(&["io.containerd.grpc.v1.cri", "containerd", "snapshotter"]))
        .map(str::to_owned)
}

fn command(arguments: &[&str]) -> Vec<String> {
    let all = CTR.iter().chain(arguments);
    all.map(|&argument| argument.to_owned()).collect()
}

/// `REF TYPE DIGEST SIZE …`
fn image(line: &str) -> Option<(String, Digest)> {
    let mut columns = line.split_whitespace();
    let name = columns.next()?;
    let digest = columns.nth(1)?.parse().ok()?;
    Some((name.to_owned(), digest))
}

#[cfg(test)]
mod tests {
    use oci_image::media_type;

    use super::*;

    const NAME: &str = "docker.io/seedling/a:1";

    fn layer(content: &[u8]) -> Descriptor {
        Descriptor::of(media_type::LAYER_ZSTD, content)
    }

    fn manifest(layers: &[&[u8]]) -> (Descriptor, Manifest) {
        let config = Descriptor::of(media_type::CONFIG, b"{}");
        let manifest = Manifest::image(config, layers.iter().map(|&bytes| layer(bytes)).collect());
        let descriptor = Descriptor::of(media_type::MANIFEST, &manifest.to_json());
        (descriptor, manifest)
    }

    #[test]
    fn commands_are_those_of_a_kubelets_namespace() {
        assert_eq!(
            import(Some("fuse-overlayfs")).join(" "),
            "ctr --namespace k8s.io images import --all-platforms --snapshotter fuse-overlayfs -"
        );
        assert_eq!(
            list_blobs().join(" "),
            "ctr --namespace k8s.io content ls --quiet"
        );
    }

    #[test]
    fn what_a_node_has_is_read_off_its_tables() {
        let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let images = format!(
            "REF                 TYPE                                       DIGEST  SIZE    PLATFORMS   LABELS\n\
             docker.io/a/b:1     application/vnd.oci.image.manifest.v1+json {digest} 2.0 MiB linux/amd64 x=y\n\
             damaged\n"
        );
        let content = NodeContent::read(&images, &format!("{digest}\nno digest\n"));
        assert_eq!(
            content,
            NodeContent {
                images: [("docker.io/a/b:1".to_owned(), digest.parse().unwrap())].into(),
                blobs: [digest.parse().unwrap()].into(),
            }
        );
    }

    #[test]
    fn only_what_is_missing_is_sent() {
        let (descriptor, image) = manifest(&[b"base", b"base", b"files", b"binary"]);
        let mut node = NodeContent::default();
        let missing = |node: &NodeContent| -> Vec<Descriptor> {
            node.missing(&image).into_iter().cloned().collect()
        };
        assert_eq!(
            missing(&node),
            [layer(b"base"), layer(b"files"), layer(b"binary")]
        );
        node.blobs.insert(Digest::of(b"base"));
        node.blobs.insert(Digest::of(b"files"));
        assert_eq!(missing(&node), [layer(b"binary")]);
        assert!(!node.has(NAME, &descriptor, &image));
        node.add(NAME, &descriptor, &image);
        assert!(node.has(NAME, &descriptor, &image));
        assert!(missing(&node).is_empty());
    }

    #[test]
    fn a_name_alone_is_no_image() {
        let (descriptor, image) = manifest(&[b"binary"]);
        let mut node = NodeContent::default();
        node.add(NAME, &descriptor, &image);
        node.blobs.remove(&Digest::of(b"binary"));
        assert!(!node.has(NAME, &descriptor, &image));
        let (other, image) = manifest(&[b"other"]);
        node.blobs.insert(Digest::of(b"other"));
        assert!(!node.has(NAME, &other, &image));
        let config = Digest::of(b"config").to_string();
        assert!(!node.has_config(NAME, &config));
        node.images.insert(config.clone(), descriptor.digest);
        assert!(node.has_config(NAME, &config));
        node.images.insert(NAME.into(), other.digest);
        assert!(!node.has_config(NAME, &config));
    }

    #[test]
    fn the_snapshotter_is_the_kubelets() {
        for (config, expected) in [
            (
                "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"fuse-overlayfs\"",
                Some("fuse-overlayfs"),
            ),
            (
                "version = 3\n[plugins.\"io.containerd.cri.v1.images\"]\nsnapshotter = \"native\"",
                Some("native"),
            ),
            (
                "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"p\"",
                None,
            ),
            ("not toml at all [", None),
            ("", None),
        ] {
            assert_eq!(snapshotter(config).as_deref(), expected, "{config}");
        }
    }
}
