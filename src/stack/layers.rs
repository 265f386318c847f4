//! Reading `build` of an image that is assembled here: one with `cargo`, `files` or `packages`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_image::{Compression, Reference};

use crate::name::ServiceName;
use crate::yaml::{Decoder, Node};

use super::native::{
    Base, CargoBuild, CargoInput, Copied, FilesBuild, Folder, NativeBuild, PackagesBuild,
    RunOptions, User, WantedPlatform,
};
use super::service::repository_path;

/// The suite of Debian that packages come from where nothing else is written.
const SUITE: &str = "bookworm";
/// A program does not get more rights than these from a mode.
const MODES: std::ops::RangeInclusive<u32> = 0..=0o7777;

/// The keys of `build` that make such an image; they go together.
pub(super) const LAYERS: &[&str] = &["cargo", "files", "packages"];
/// The further keys: those of the image, of `cargo`, of `packages`.
const OF_THE_IMAGE: &[&str] = &[
    "base",
    "user",
    "variables",
    "entrypoint",
    "arguments",
    "workingDir",
    "stopSignal",
    "users",
    "folders",
    "links",
    "platforms",
    "compression",
];
const OF_CARGO: &[&str] = &[
    "bin",
    "bins",
    "profile",
    "features",
    "defaultFeatures",
    "inputs",
];
const OF_PACKAGES: &[&str] = &["suite", "without", "only", "drop", "applets", "unchecked"];

/// Reads `build` with one of [`LAYERS`] in it.
pub(super) fn decode(
    service: &ServiceName,
    node: &Node,
    decoder: &mut Decoder,
) -> Option<NativeBuild> {
    check_keys(node, decoder);
    let cargo = node
        .get("cargo")
        .map(|package| cargo(node, package, decoder));
    let packages = node
        .get("packages")
        .map(|names| packages(service, node, names, decoder));
    let files = files(node, decoder);
    let base = decoder
        .optional(node, "base")
        .map(|node| base(node, decoder));
    let run = run(node, &files, decoder);
    let platforms = platforms(node, decoder);
    if cargo.is_none() && run.entrypoint.is_empty() {
        decoder.bad_value(
            &node.span,
            "an image without a binary of its own has an `entrypoint`",
        );
    }
    Some(NativeBuild {
        base: transposed(base)?,
        packages: transposed(packages)?,
        files,
        cargo: transposed(cargo)?,
        run,
        platforms,
        compression: decoder
            .optional(node, "compression")
            .map_or(Some(Compression::Gzip), |node| compression(node, decoder))?,
        span: node.span.clone(),
    })
}

/// A key belongs to the image or to a layer that is there.
fn check_keys(node: &Node, decoder: &mut Decoder) {
    let of = |layer: &str, keys: &'static [&'static str]| match node.get(layer) {
        Some(_) => keys,
        None => &[],
    };
    let known: Vec<&str> = [
        LAYERS,
        OF_THE_IMAGE,
        of("cargo", OF_CARGO),
        of("packages", OF_PACKAGES),
    ]
    .concat();
    decoder.keys(node, &known);
}

/// `None` where a part was written and is wrong.
fn transposed<T>(part: Option<Option<T>>) -> Option<Option<T>> {
    match part {
        Some(None) => None,
        Some(Some(part)) => Some(Some(part)),
        None => Some(None),
    }
}

/// Each once: an index has no two images for one platform.
fn platforms(node: &Node, decoder: &mut Decoder) -> Vec<WantedPlatform> {
    let Some(node) = decoder.optional(node, "platforms") else {
        return Vec::new();
    };
    let listed = decoder.list(node, |decoder, node| {
        Some(WantedPlatform {
            platform: decoder.parsed(node)?,
            span: node.span.clone(),
        })
    });
    for (place, wanted) in listed.iter().enumerate() {
        let before = &listed[..place];
        if before.iter().any(|other| other.platform == wanted.platform) {
            decoder.bad_value(
                &wanted.span,
                format!("`{}` is there twice", wanted.platform),
            );
        }
    }
    listed
}

fn base(node: &Node, decoder: &mut Decoder) -> Option<Base> {
    let reference: Reference = decoder.parsed(node)?;
    let Some(digest) = reference.digest() else {
        decoder.bad_value(
            &node.span,
            format!("a base is pinned by its digest, {reference}@sha256:…, since a tag may be another image tomorrow"),
        );
        return None;
    };
    Some(Base {
        reference,
        digest,
        span: node.span.clone(),
    })
}

fn compression(node: &Node, decoder: &mut Decoder) -> Option<Compression> {
    match decoder.text(node)?.as_str() {
        "gzip" => Some(Compression::Gzip),
        "zstd" => Some(Compression::Zstd),
        other => {
            decoder.bad_value(&node.span, format!("`{other}` is neither gzip nor zstd"));
            None
        }
    }
}

fn cargo(node: &Node, package: &Node, decoder: &mut Decoder) -> Option<CargoBuild> {
    let name = decoder.text(package)?;
    let text = |key: &str, decoder: &mut Decoder| {
        decoder
            .optional(node, key)
            .and_then(|node| decoder.text(node))
    };
    let default_features = match decoder.optional(node, "defaultFeatures") {
        Some(node) => decoder.boolean(node)?,
        None => true,
    };
    Some(CargoBuild {
        bin: text("bin", decoder).unwrap_or_else(|| name.clone()),
        bins: texts(node, "bins", decoder),
        profile: text("profile", decoder).unwrap_or_else(|| "release".to_owned()),
        features: texts(node, "features", decoder),
        default_features,
        inputs: match decoder.optional(node, "inputs") {
            Some(node) => decoder.list(node, cargo_input),
            None => Vec::new(),
        },
        package: name,
        span: package.span.clone(),
    })
}

/// `$NAME` is a variable, everything else a path.
fn cargo_input(decoder: &mut Decoder, node: &Node) -> Option<CargoInput> {
    let text = decoder.text(node)?;
    let Some(name) = text.strip_prefix('$') else {
        return Some(CargoInput::Path {
            path: repository_path(node, decoder)?,
            span: node.span.clone(),
        });
    };
    match name.parse() {
        Ok(name) => Some(CargoInput::Variable(name)),
        Err(error) => {
            let error: crate::name::InvalidName = error;
            decoder.bad_value(&node.span, error.to_string());
            None
        }
    }
}

fn packages(
    service: &ServiceName,
    node: &Node,
    names: &Node,
    decoder: &mut Decoder,
) -> Option<PackagesBuild> {
    let listed = decoder.list(names, package_name);
    if listed.is_empty() {
        decoder.bad_value(&names.span, "at least one package is named");
        return None;
    }
    let without = match decoder.optional(node, "without") {
        Some(node) => decoder.list(node, package_name),
        None => Vec::new(),
    };
    let only = decoder
        .optional(node, "only")
        .map(|node| decoder.map(node, |decoder, node| Some(decoder.list(node, image_path))))
        .unwrap_or_default();
    let suite = decoder
        .optional(node, "suite")
        .and_then(|node| decoder.text(node));
    Some(PackagesBuild {
        names: listed,
        without,
        only,
        drop: texts(node, "drop", decoder),
        applets: texts(node, "applets", decoder),
        unchecked: texts(node, "unchecked", decoder),
        suite: suite.unwrap_or_else(|| SUITE.to_owned()),
        lock: PathBuf::from(format!("services/{service}/packages.lock")),
        span: names.span.clone(),
    })
}

/// As Debian policy has it (5.6.1).
fn package_name(decoder: &mut Decoder, node: &Node) -> Option<String> {
    let text = decoder.text(node)?;
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    if text.len() < 2
        || !text.bytes().all(legal)
        || !text.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        decoder.bad_value(
            &node.span,
            format!("`{text}` is no name of a Debian package"),
        );
        return None;
    }
    Some(text)
}

fn files(node: &Node, decoder: &mut Decoder) -> FilesBuild {
    let named = node.get("users").map(Node::entries).unwrap_or_default();
    for (key, _) in named.iter().filter(|(key, _)| !is_user_name(&key.name)) {
        decoder.bad_value(
            &key.span,
            "a user's name is made of a-z, 0-9, _ and -, and starts with a letter or _",
        );
    }
    let users = decoder
        .optional(node, "users")
        .map(|node| decoder.map(node, user))
        .unwrap_or_default();
    check_users(node, &users, decoder);
    FilesBuild {
        copies: copies(node, decoder),
        users,
        folders: by_path(node, "folders", decoder, folder),
        links: by_path(node, "links", decoder, |decoder, node| decoder.text(node)),
    }
}

fn copies(node: &Node, decoder: &mut Decoder) -> BTreeMap<PathBuf, Copied> {
    let Some(node) = decoder.optional(node, "files") else {
        return BTreeMap::new();
    };
    let targets: BTreeMap<String, Copied> = decoder.map(node, |decoder, node| {
        Some(Copied {
            to: root_or_below(decoder, node)?,
            span: node.span.clone(),
        })
    });
    let mut copies = BTreeMap::new();
    for (key, _) in node.entries() {
        let path = Node {
            span: key.span.clone(),
            value: crate::yaml::Value::String(key.name.clone()),
        };
        if let Some(copied) = targets.get(&key.name)
            && let Some(from) = repository_path(&path, decoder)
        {
            copies.insert(from, copied.clone());
        }
    }
    copies
}

/// A map from paths in the image.
fn by_path<T>(
    node: &Node,
    key: &str,
    decoder: &mut Decoder,
    read: impl Fn(&mut Decoder, &Node) -> Option<T>,
) -> BTreeMap<String, T> {
    let Some(node) = decoder.optional(node, key) else {
        return BTreeMap::new();
    };
    for (key, _) in node.entries() {
        if !is_image_path(&key.name) {
            decoder.bad_value(&key.span, NO_IMAGE_PATH);
        }
    }
    decoder.map(node, read)
}

const NO_IMAGE_PATH: &str =
    "a path in an image is absolute, without `.`, `..` and a slash at its end";

fn is_image_path(path: &str) -> bool {
    let inside = |part: &str| !part.is_empty() && part != "." && part != "..";
    path.strip_prefix('/')
        .is_some_and(|path| path.split('/').all(inside))
}

/// As useradd has it.
fn is_user_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    name.starts_with(first)
        && name.len() <= 32
        && name
            .chars()
            .all(|c| first(c) || c.is_ascii_digit() || c == '-')
}

fn image_path(decoder: &mut Decoder, node: &Node) -> Option<String> {
    let path = decoder.text(node)?;
    if !is_image_path(&path) {
        decoder.bad_value(&node.span, NO_IMAGE_PATH);
        return None;
    }
    Some(path)
}

fn root_or_below(decoder: &mut Decoder, node: &Node) -> Option<String> {
    match decoder.text(node)?.as_str() {
        "/" => Some("/".to_owned()),
        _ => image_path(decoder, node),
    }
}

fn user(decoder: &mut Decoder, node: &Node) -> Option<User> {
    if !decoder.keys(node, &["uid", "home"]) {
        return None;
    }
    let uid = decoder
        .required(node, "uid")
        .and_then(|node| decoder.integer(node, 1..=u64::from(u32::MAX - 1)))?;
    let uid = u32::try_from(uid).ok()?;
    let home = match decoder.optional(node, "home") {
        Some(node) => home(decoder, node)?,
        None => "/nonexistent".to_owned(),
    };
    Some(User { uid, home })
}

/// A field of `/etc/passwd`.
fn home(decoder: &mut Decoder, node: &Node) -> Option<String> {
    let home = image_path(decoder, node)?;
    if home.contains([':', '\n']) {
        decoder.bad_value(&node.span, "a home has neither colons nor line breaks");
        return None;
    }
    Some(home)
}

/// Names and numbers of users each stand for one: root has its own.
fn check_users(node: &Node, users: &BTreeMap<String, User>, decoder: &mut Decoder) {
    for (name, user) in users {
        let twin = users
            .iter()
            .take_while(|(other, _)| *other != name)
            .find(|(_, other)| other.uid == user.uid);
        let place = node.at(["users", name]).unwrap_or(node);
        if name == "root" {
            decoder.bad_value(&place.span, "root is there without being named");
        } else if let Some((other, _)) = twin {
            let message = format!("`{name}` has the number of `{other}`: {}", user.uid);
            decoder.bad_value(&place.span, message);
        }
    }
}

fn folder(decoder: &mut Decoder, node: &Node) -> Option<Folder> {
    if !decoder.keys(node, &["owner", "mode"]) {
        return None;
    }
    let owner = match decoder.optional(node, "owner") {
        Some(node) => Some(decoder.text(node)?),
        None => None,
    };
    let mode = match decoder.optional(node, "mode") {
        Some(node) => mode(decoder, node)?,
        None => 0o755,
    };
    Some(Folder { owner, mode })
}

/// Octal, quoted: YAML's readers do not agree on `0755`.
fn mode(decoder: &mut Decoder, node: &Node) -> Option<u32> {
    let text = decoder.string(node)?;
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if MODES.contains(&mode) => Some(mode),
        _ => {
            decoder.bad_value(
                &node.span,
                format!("`{text}` is no mode: write it as \"0755\""),
            );
            None
        }
    }
}

fn run(node: &Node, files: &FilesBuild, decoder: &mut Decoder) -> RunOptions {
    let default = RunOptions::default();
    let text = |key: &str, decoder: &mut Decoder| {
        decoder
            .optional(node, key)
            .and_then(|node| decoder.text(node))
    };
    let user = decoder
        .optional(node, "user")
        .and_then(|node| run_as(node, files, decoder));
    check_owners(node, files, decoder);
    let working_dir = decoder
        .optional(node, "workingDir")
        .and_then(|node| root_or_below(decoder, node));
    RunOptions {
        user: user.unwrap_or(default.user),
        variables: decoder
            .optional(node, "variables")
            .map(|node| decoder.map(node, |decoder, node| decoder.scalar_text(node)))
            .unwrap_or_default(),
        entrypoint: texts(node, "entrypoint", decoder),
        arguments: texts(node, "arguments", decoder),
        working_dir,
        stop_signal: text("stopSignal", decoder),
    }
}

/// `UID:GID` of a declared user, or as it is written.
fn run_as(node: &Node, files: &FilesBuild, decoder: &mut Decoder) -> Option<String> {
    let text = decoder.scalar_text(node)?;
    if let Some(user) = files.users.get(&text) {
        return Some(format!("{0}:{0}", user.uid));
    }
    let (uid, gid) = text.split_once(':').unwrap_or((&text, &text));
    match (uid.parse::<u32>(), gid.parse::<u32>()) {
        (Ok(uid), Ok(gid)) => Some(format!("{uid}:{gid}")),
        _ => {
            decoder.bad_value(
                &node.span,
                format!("`{text}` is neither one of `users` nor UID:GID in numbers"),
            );
            None
        }
    }
}

fn check_owners(node: &Node, files: &FilesBuild, decoder: &mut Decoder) {
    for (path, folder) in &files.folders {
        let Some(owner) = folder.owner.as_deref().filter(|owner| *owner != "root") else {
            continue;
        };
        if !files.users.contains_key(owner) {
            let place = node.at(["folders", path, "owner"]).unwrap_or(node);
            decoder.bad_value(
                &place.span,
                format!("`{owner}` is neither root nor one of `users`"),
            );
        }
    }
}

fn texts(node: &Node, key: &str, decoder: &mut Decoder) -> Vec<String> {
    match decoder.optional(node, key) {
        Some(node) => decoder.list(node, Decoder::string),
        None => Vec::new(),
    }
}
