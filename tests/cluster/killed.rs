//! kill -9 at random moments of a build and its delivery: the next run makes it right, nothing wrong was ever to be
//! found under a name, and what was left behind does not pile up.
//!
//! What nobody but its owner can tidy up: the uploads that a registry was sent half of (registries purge them by age),
//! and what the Docker engine had unpacked until then (it forgets that when the connection ends; measured below).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use oci_image::Layout;

use crate::shop::{
    Known, Names, Random, Shop, blob, docker, file_in_engine, layers_in_engine, note, text,
};

const ROUNDS: usize = 50;
/// Long enough for compressing, loading and pushing to take their time.
const CONTENT: usize = 6 << 20;
/// Versions of a service that a store keeps.
const KEPT: usize = 3;

/// Where a build goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Engine,
    Registry,
    Folder,
}

const PLACES: [Place; 3] = [Place::Engine, Place::Registry, Place::Folder];

/// How far a run had come when it was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Building,
    Delivering,
    Done,
}

impl Place {
    fn to(self) -> &'static str {
        match self {
            Self::Engine => "docker",
            Self::Registry => "registry",
            Self::Folder => "oci:out",
        }
    }
}

/// A stack whose next version is always known.
struct Bench {
    shop: Shop,
    /// Where the same is built undisturbed and from nothing.
    clean: Shop,
    random: Random,
    /// What each name must lead to, whenever there is one.
    expected: BTreeMap<String, Known>,
    /// The names of the version that the sources have now.
    current: BTreeSet<String>,
    content: Vec<u8>,
    words: String,
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn killed_at_any_moment_the_next_build_is_right() {
    let mut bench = Bench::new();
    let durations = bench.undisturbed();
    note(&format!("undisturbed: {durations:?}"));
    let mut stages = BTreeMap::<(Place, Stage), usize>::new();
    for round in 0..ROUNDS {
        let (place, edited) = (PLACES[round % 3], round % 5 == 0);
        bench.edit(edited);
        // Spread evenly, and at random within each part.
        let part = (round as f64 + bench.random.fraction()) / ROUNDS as f64;
        let part = (part * 17.0).fract();
        let delay = durations[&(place, edited)].mul_f64(part);
        bench.run_and_kill(place, delay);
        let names = bench.check_names();
        *stages
            .entry((place, bench.stage(&names, place)))
            .or_default() += 1;
        bench.run_to_the_end(place);
    }
    note(&format!("killed at: {stages:?}"));
    let killed_while = |stage| {
        let places = stages.iter().filter(|((_, found), _)| *found == stage);
        places.map(|(_, count)| count).sum::<usize>()
    };
    assert!(killed_while(Stage::Building) > 0 && killed_while(Stage::Delivering) > 0);
    bench.check_nothing_piles_up();
}

impl Bench {
    fn new() -> Self {
        let shop = Shop::new();
        let clean = Shop::clone_of(&shop);
        Self {
            shop,
            clean,
            random: Random::seeded(),
            expected: BTreeMap::new(),
            current: BTreeSet::new(),
            content: Vec::new(),
            words: String::new(),
        }
    }

    /// A version that was never built, here and in the clean clone, where it is built.
    fn edit(&mut self, program_too: bool) {
        self.content = self.random.bytes(CONTENT);
        if program_too || self.words.is_empty() {
            self.words = format!("{:x}", self.random.next());
            self.current.clear();
        }
        for shop in [&self.shop, &self.clean] {
            shop.fill(&self.content);
            shop.say(&self.words);
        }
        let mut services = vec!["bulk"];
        if self.current.is_empty() {
            services.push("hello");
        }
        self.current.retain(|name| !name.starts_with("bulk:"));
        for service in services {
            let (name, known) = self.clean.built_anew(service);
            self.current.insert(name.clone());
            self.expected.insert(name, known);
        }
    }

    /// How long each kind of run takes.
    fn undisturbed(&mut self) -> BTreeMap<(Place, bool), Duration> {
        let mut durations = BTreeMap::new();
        for edited in [true, false] {
            for place in PLACES {
                self.edit(edited);
                let run = self.shop.run(&["build", "--to", place.to()]);
                assert_eq!(run.code, 0, "{}", run.stderr);
                durations.insert((place, edited), run.elapsed);
            }
        }
        durations
    }

    /// Kills the process alone, as `kill -9 PID` does: what it has started lives on.
    fn run_and_kill(&self, place: Place, delay: Duration) {
        let mut child = self
            .shop
            .command(&["build", "--to", place.to()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        std::thread::sleep(delay);
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
    }

    /// Nothing that can be found is something else than what an undisturbed build makes.
    fn check_names(&self) -> Names {
        let names = self.shop.names();
        for (place, found) in [("store", &names.store), ("registry", &names.registry)] {
            for (name, digest) in found {
                assert_eq!(
                    *digest, self.expected[name].manifest,
                    "{name} in the {place}"
                );
            }
        }
        for (name, id) in &names.engine {
            let known = &self.expected[name];
            // Engines that keep images in containerd's store know them by their manifests.
            assert!(
                [&known.config, &known.manifest].contains(&id),
                "{name} is {id}"
            );
        }
        for manifest in &names.attested {
            let mut known = self.expected.values();
            assert!(known.any(|known| known.manifest == *manifest), "{manifest}");
        }
        for folder in [self.images(), self.shop.path().join("out")] {
            self.check_layout(&folder);
        }
        names
    }

    /// Names of layouts that were not there the last time lead to whole images.
    fn check_layout(&self, folder: &Path) {
        if !folder.join("index.json").exists() {
            return;
        }
        let layout = Layout::open(folder).expect("a layout");
        for (name, image) in layout.names().expect("an index") {
            if self.current.iter().any(|current| name.ends_with(current)) {
                layout
                    .verify(&image)
                    .unwrap_or_else(|error| panic!("{name} in {}: {error}", folder.display()));
            }
        }
    }

    fn stage(&self, names: &Names, place: Place) -> Stage {
        let all_in = |names: &BTreeMap<String, String>| {
            self.current.iter().all(|name| names.contains_key(name))
        };
        let delivered = match place {
            Place::Engine => all_in(&names.engine),
            Place::Registry => all_in(&names.registry),
            Place::Folder => {
                let index = fs::read_to_string(self.shop.path().join("out/index.json"));
                let index = index.unwrap_or_default();
                self.current.iter().all(|name| index.contains(name))
            }
        };
        match (delivered, all_in(&names.store)) {
            (true, _) => Stage::Done,
            (false, true) => Stage::Delivering,
            (false, false) => Stage::Building,
        }
    }

    /// The same command again.
    fn run_to_the_end(&self, place: Place) {
        let report = self.shop.build(&["--to", place.to()]);
        for name in &self.current {
            let service = name.split(':').next().expect("a part");
            let image = &report["images"][service];
            assert_eq!(
                text(&image["manifest"]["digest"]),
                self.expected[name].manifest
            );
        }
        let names = self.check_names();
        assert_eq!(self.stage(&names, place), Stage::Done, "{names:?}");
        let named = |service: &str| {
            let mut names = self.current.iter();
            let name = names.find(|name| name.starts_with(service));
            name.expect("both services are built").clone()
        };
        let (hello, bulk) = (named("hello:"), named("bulk:"));
        match place {
            Place::Engine => {
                self.check_content(&self.shop.reference(&hello), &self.shop.reference(&bulk))
            }
            Place::Registry => [hello, bulk].iter().for_each(|name| self.shop.pull(name)),
            Place::Folder => {}
        }
    }

    fn check_content(&self, hello: &str, bulk: &str) {
        let said = docker(&["run", "--rm", hello]);
        assert_eq!(said, format!("hello {}", self.words));
        assert!(
            file_in_engine(bulk, "/srv/content") == self.content,
            "{bulk}"
        );
    }

    fn images(&self) -> PathBuf {
        self.shop.cache().join("images")
    }

    /// A month later, after one more build.
    fn check_nothing_piles_up(&self) {
        let month_ago = SystemTime::now() - Duration::from_secs(31 * 24 * 3600);
        for folder in [
            self.shop.cache(),
            self.shop.path().join(".stackctl"),
            self.shop.path().join("out"),
        ] {
            for file in files(&folder) {
                let file = File::options()
                    .append(true)
                    .open(&file)
                    .expect("it is ours");
                file.set_modified(month_ago).expect("it is ours");
            }
        }
        fs::remove_file(self.shop.cache().join("collected"))
            .expect("a build has looked for garbage");
        self.shop.build(&["--to", "docker"]);
        self.shop.build(&["--to", "oci:out"]);
        self.check_names();
        let names = self.shop.names().store;
        for service in ["hello:", "bulk:"] {
            let count = names
                .keys()
                .filter(|name| name.starts_with(service))
                .count();
            assert!(count <= KEPT, "{names:?}");
        }
        assert_eq!(
            blobs_in(&self.images()),
            reached(&self.images(), names.values())
        );
        let layers = files(&self.shop.cache().join("layers"));
        assert!(layers.len() <= KEPT, "one of each kept `bulk`: {layers:?}");
        for folder in [self.images(), self.shop.path().join("out")] {
            assert_eq!(files(&folder.join("tmp")), Vec::<PathBuf>::new());
        }
        let state = files(&self.shop.path().join(".stackctl"));
        let unfinished = state.iter().filter(|file| name(file).starts_with(".tmp"));
        assert_eq!(unfinished.count(), 0, "{state:?}");
        self.check_engine_forgets();
    }

    /// No image without a name is left in the engine, and no layer when the images go.
    fn check_engine_forgets(&self) {
        let label = "label=org.opencontainers.image.title=bulk";
        let dangling = docker(&[
            "images",
            "--quiet",
            "--filter",
            "dangling=true",
            "--filter",
            label,
        ]);
        let filter = format!("reference={}/*", self.shop.prefix);
        // Those that were pulled by digest have no tag and are listed by their repository.
        let ours = docker(&["images", "--quiet", "--no-trunc", "--filter", &filter]);
        let ours: BTreeSet<&str> = ours.lines().collect();
        let dangling: Vec<&str> = dangling.lines().filter(|id| ours.contains(id)).collect();
        assert!(dangling.is_empty(), "{dangling:?}");
        let images = self.shop.names().engine;
        let bulk = images
            .keys()
            .filter(|name| name.starts_with("bulk:"))
            .count();
        assert!(bulk > ROUNDS / 3, "{images:?}");
        let before = layers_in_engine();
        let mut remove = vec!["rmi", "--force"];
        remove.extend(&ours);
        docker(&remove);
        let freed = before.saturating_sub(layers_in_engine());
        // All layers but two at most: other tests may load something meanwhile.
        let least = ((bulk - 2) * CONTENT) as u64;
        assert!(freed >= least, "{freed} bytes of {least} were freed");
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

fn name(file: &Path) -> String {
    let name = file.file_name().expect("a name");
    name.to_string_lossy().into_owned()
}

fn blobs_in(layout: &Path) -> BTreeSet<String> {
    let files = files(&layout.join("blobs/sha256"));
    files
        .iter()
        .map(|file| format!("sha256:{}", name(file)))
        .collect()
}

/// These manifests and what they name.
fn reached<'a>(layout: &Path, manifests: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    for digest in manifests {
        let manifest = blob(layout, digest);
        let layers = manifest["layers"].as_array().expect("layers");
        let blobs = layers.iter().chain([&manifest["config"]]);
        reached.extend(blobs.map(|blob| text(&blob["digest"])));
        reached.insert(digest.clone());
    }
    reached
}
