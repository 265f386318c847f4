//! `--timings`: a table for a person, a page for a browser, a document for a program.

use std::fs;

use serde_json::Value;

use crate::workspace::Workspace;

#[test]
fn a_build_says_where_its_time_went() {
    let workspace = Workspace::empty();
    for (path, text) in [
        ("stack.yaml", "name: shop\nservices: [pages]\n"),
        ("environments/local.yaml", "cluster: local\n"),
        (
            "services/pages/service.yaml",
            "build: { files: { pages: /srv }, entrypoint: [/srv/run] }\n",
        ),
        ("pages/run", "#!/bin/sh\n"),
    ] {
        workspace.write(path, text);
    }
    let cache = workspace.path().join("cache");
    let run = workspace.run_with(
        &["build", "--to", "oci:out", "--timings"],
        &[("STACKCTL_CACHE", &cache.display().to_string())],
    );
    let said = run.stderr;
    assert_eq!(run.code, 0, "{said}");
    for words in [
        "SERVICE", "INPUTS", "ASSEMBLE", "LOAD", "pages", "in all", "*",
    ] {
        assert!(said.contains(words), "{words:?} is missing in\n{said}");
    }

    let folder = workspace.path().join("target/stackctl/timings");
    let text = fs::read_to_string(folder.join("latest.json")).expect("the document");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["version"], 1);
    let spans = document["spans"].as_array().expect("spans");
    let of = |service: Option<&str>, step: &str| {
        let found = spans
            .iter()
            .find(|span| span["service"].as_str() == service && span["step"] == step);
        let found = found.unwrap_or_else(|| panic!("no {step} of {service:?} in {text}"));
        let time = |name: &str| found[name].as_f64().expect("a time");
        (time("start"), time("end"))
    };
    let (inputs, assembled) = (of(None, "inputs"), of(Some("pages"), "assemble"));
    let loaded = of(Some("pages"), "load");
    assert!(inputs.1 <= assembled.0, "{text}");
    assert!(assembled.1 <= loaded.0, "{text}");
    let all = document["milliseconds"].as_f64().expect("a time");
    assert!(0.0 < loaded.1 && loaded.1 <= all, "{text}");
    assert!(
        !document["criticalPath"]
            .as_array()
            .expect("a path")
            .is_empty()
    );

    let page = fs::read_to_string(folder.join("latest.html")).expect("the page");
    for words in ["<!doctype html>", "pages", "assemble", "load"] {
        assert!(page.contains(words), "{words:?} is missing in the page");
    }
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "the page needs no network"
    );
}
