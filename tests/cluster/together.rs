//! Two who build the same: at the same time on one repository and one cache, and one after the other on two machines.

use std::process::Stdio;

use serde_json::Value;

use crate::cluster::finish;
use crate::shop::{Random, Shop, text};

const ROUNDS: usize = 6;

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn builds_into_the_engine_and_the_registry_at_once_give_one_image() {
    let (shop, mut random) = (Shop::new(), Random::seeded());
    let clean = Shop::clone_of(&shop);
    for round in 0..ROUNDS {
        let (content, words) = (random.bytes(4 << 20), format!("{:x}", random.next()));
        for shop in [&shop, &clean] {
            shop.fill(&content);
            shop.say(&words);
        }
        let reports = std::thread::scope(|scope| {
            let runs = ["docker", "registry"].map(|to| {
                let mut command = shop.command(&["build", "--output", "json", "--to", to]);
                command.stdin(Stdio::null());
                scope.spawn(move || finish(command))
            });
            runs.map(|run| {
                let run = run.join().expect("it does not panic");
                assert_eq!(run.code, 0, "round {round}: {}", run.stderr);
                serde_json::from_str::<Value>(&run.stdout).expect("JSON")
            })
        });
        let names = shop.names();
        for service in ["hello", "bulk"] {
            let (name, known) = clean.built_anew(service);
            for report in &reports {
                let manifest = &report["images"][service]["manifest"]["digest"];
                assert_eq!(text(manifest), known.manifest, "{name}");
            }
            assert_eq!(names.store[&name], known.manifest);
            assert_eq!(names.registry[&name], known.manifest);
            let id = &names.engine[&name];
            assert!(
                [&known.config, &known.manifest].contains(&id),
                "{name}: {id}"
            );
        }
    }
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn what_one_machine_has_pushed_another_neither_builds_nor_moves() {
    let shop = Shop::new();
    let first = shop.build(&["--to", "registry"]);
    let other = Shop::clone_of(&shop);
    let second = other.build(&["--to", "registry"]);
    for service in ["hello", "bulk"] {
        let (pushed, found) = (&first["images"][service], &second["images"][service]);
        assert_eq!(pushed["outcome"], "built");
        assert_eq!(found["outcome"], "cached");
        assert_eq!(found["reference"], pushed["reference"]);
    }
    assert!(!other.path().join("target").exists(), "nothing is compiled");
    assert!(other.names().store.is_empty(), "nothing is assembled");
    // What is to be described has to be here.
    let described = other.build(&["--to", "registry", "--sbom=sbom"]);
    for service in ["hello", "bulk"] {
        assert_eq!(described["images"][service]["outcome"], "built");
        assert!(
            other
                .path()
                .join(format!("sbom/{service}.spdx.json"))
                .exists()
        );
    }
}
