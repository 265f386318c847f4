//! Each parser is fed its seeds, mutations of them, and random bytes.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parsers::{TARGETS, Target};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{Index, select};
use proptest::strategy::BoxedStrategy;
use proptest::test_runner::{Config, RngSeed, TestRunner};

/// For each parser.
const CASES: u32 = 4000;
/// After this no more than `LEAST` are tried.
const LIMIT: Duration = Duration::from_secs(4);
/// However long it takes.
const LEAST: u32 = 200;
const SEED: &str = "STACKCTL_TEST_SEED";

#[test]
fn no_parser_panics() {
    let seed = std::env::var(SEED)
        .map_or_else(|_| std::process::id().into(), |seed| seed.parse().unwrap());
    for target in TARGETS {
        let seeds = seeds(target.name);
        for (file, data) in &seeds {
            if catch_unwind(|| (target.run)(data)).is_err() {
                panic!(
                    "{}: the seed {} is what it panics of",
                    target.name,
                    file.display()
                );
            }
        }
        let tried = mutate(
            target,
            seeds.into_iter().map(|(_, data)| data).collect(),
            seed,
        );
        println!("{}: {tried} inputs", target.name);
        assert!(tried >= LEAST, "{}: {tried} inputs only", target.name);
    }
}

/// What libFuzzer runs is what is run here.
#[test]
fn every_parser_has_a_program_for_libfuzzer() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let names: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    let programs = manifest.split("[[bin]]\nname = \"").skip(1);
    let programs: BTreeSet<&str> = programs
        .map(|text| text.split('"').next().unwrap())
        .collect();
    assert_eq!(programs, names);
    for name in names {
        let program = fs::read_to_string(fuzz.join("fuzz_targets").join(format!("{name}.rs")));
        assert!(
            program.unwrap().contains(&format!("run(\"{name}\", data)")),
            "{name}"
        );
    }
}

/// Returns how many inputs were tried.
fn mutate(target: Target, seeds: Vec<Vec<u8>>, seed: u64) -> u32 {
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    });
    let (started, tried) = (Instant::now(), Cell::new(0));
    let outcome = runner.run(&mutations(seeds), |data| {
        if tried.get() < LEAST || started.elapsed() < LIMIT {
            tried.set(tried.get() + 1);
            (target.run)(&data);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{SEED}={seed}: {}: {error}", target.name);
    }
    tried.get()
}

fn mutations(seeds: Vec<Vec<u8>>) -> BoxedStrategy<Vec<u8>> {
    let changed = (
        select(seeds.clone()),
        vec((any::<Index>(), any::<u8>()), 1..6),
    );
    let changed = changed.prop_map(|(mut data, changes)| {
        for (at, byte) in changes {
            if !data.is_empty() {
                let at = at.index(data.len());
                data[at] = byte;
            }
        }
        data
    });
    let spliced = (
        select(seeds.clone()),
        any::<Index>(),
        select(seeds),
        any::<Index>(),
        vec(any::<u8>(), 0..4),
    );
    let spliced = spliced.prop_map(|(head, end, tail, start, between)| {
        let head = &head[..end.index(head.len() + 1)];
        let tail = &tail[start.index(tail.len() + 1)..];
        [head, &between, tail].concat()
    });
    let texts = [
        "",
        "-",
        "\0",
        "0",
        "9223372036854775808",
        "\u{fffd}",
        "%00",
        "1e999",
        "[[[[",
    ];
    let texts = select(texts.to_vec()).prop_map(|text| text.as_bytes().to_vec());
    prop_oneof![
        4 => changed,
        4 => spliced,
        1 => vec(any::<u8>(), 0..400),
        1 => (1..9000_usize).prop_map(|length| vec![b'7'; length]),
        1 => texts,
        1 => Just(Vec::new()),
    ]
    .boxed()
}

/// The files and what is in them.
fn seeds(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(name);
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|_| panic!("{} has no seeds", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{name} has no seeds");
    let read = |file: PathBuf| {
        let data = fs::read(&file).unwrap();
        (file, data)
    };
    files.into_iter().map(read).collect()
}
