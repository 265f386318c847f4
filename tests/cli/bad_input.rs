//! Every kind of broken input: exit code, place, words of the message and of the hint; and nothing is touched.

mod files;
mod templates;

use crate::workspace::Workspace;

/// One mistake and what is said about it.
struct Mistake {
    /// Files that are written over the good stack.
    files: &'static [(&'static str, &'static str)],
    /// What is run.
    run: &'static [&'static str],
    /// Its exit code.
    code: i32,
    /// `path:line:column` of the first excerpt; empty where there is no file to point at.
    place: &'static str,
    /// Words of the message, the notes and the hints.
    words: &'static [&'static str],
}

const WEB: &str = "services/web/service.yaml";
const LOCAL: &str = "environments/local.yaml";

/// Those of environments, smoke tests, arguments and the world; the others have files of their own.
const MISTAKES: &[Mistake] = &[
    // environments
    Mistake {
        files: &[],
        run: &["render", "lcoal"],
        code: 2,
        place: "",
        words: &[
            "error[S0141]",
            "no environment `lcoal`",
            "hint: did you mean `local`?",
        ],
    },
    Mistake {
        files: &[("environments/base.yaml", "extends: local\n")],
        run: &["render"],
        code: 2,
        place: "environments/base.yaml:1:10",
        words: &["error[S0143]", "local → base → local"],
    },
    Mistake {
        files: &[(LOCAL, "extends: base\n")],
        run: &["render"],
        code: 2,
        place: "environments/local.yaml:1:1",
        words: &[
            "error[S0112]",
            "`cluster` is missing",
            "hint: `cluster: local`",
        ],
    },
    Mistake {
        files: &[(
            LOCAL,
            "extends: base\ncluster: local\nservices: { web: { values: { replcas: 3 } } }\n",
        )],
        run: &["render"],
        code: 2,
        place: "environments/local.yaml:3:30",
        words: &[
            "error[S0120]",
            "declares no `values.replcas`",
            "hint: did you mean `replicas`?",
        ],
    },
    Mistake {
        files: &[(
            LOCAL,
            "extends: base\ncluster: local\nsecrets: [db-password]\n",
        )],
        run: &["validate"],
        code: 2,
        place: "environments/local.yaml:3:10",
        words: &["error[S0111]", "expected a map, found a list"],
    },
    // smoke tests
    Mistake {
        files: &[(
            "services/web/smoke.yaml",
            "checks:\n  - name: a\n    request: { pth: / }\n",
        )],
        run: &["validate"],
        code: 2,
        place: "services/web/smoke.yaml:3:16",
        words: &["unknown key `pth`", "did you mean `path`?"],
    },
    Mistake {
        files: &[(
            "services/web/smoke.yaml",
            "checks:\n  - name: a\n    request: { path: /, headers: { x-key: \"{{secrets.db-pasword}}\" } }\n",
        )],
        run: &["validate"],
        code: 2,
        place: "services/web/smoke.yaml:3:43",
        words: &[
            "error[S0904]",
            "there is no secret `db-pasword`",
            "hint: did you mean `db-password`?",
            "hint: declare it under `secrets:` of environments/local.yaml",
        ],
    },
    // arguments
    Mistake {
        files: &[],
        run: &["render", "--frobnicate"],
        code: 2,
        place: "",
        words: &["--frobnicate"],
    },
    Mistake {
        files: &[],
        run: &["render", "-s", "wbe"],
        code: 2,
        place: "",
        words: &[
            "error[S0161]",
            "no service `wbe`",
            "hint: did you mean `web`?",
        ],
    },
    Mistake {
        files: &[],
        run: &["render", "--target", "twenty"],
        code: 2,
        place: "",
        words: &["error[S0160]", "no version of Kubernetes"],
    },
    Mistake {
        files: &[],
        run: &["up", "--junit", "nowhere/report.xml"],
        code: 2,
        place: "",
        words: &["error[S0160]", "nowhere/report.xml cannot be written"],
    },
    // the world
    Mistake {
        files: &[
            (WEB, "build: { dockerfile: Dockerfile }\n"),
            ("Dockerfile", "FROM scratch\nCOPY stack.yaml /\n"),
        ],
        run: &["build"],
        code: 1,
        place: "",
        words: &["error[S04", "Docker", "hint:"],
    },
    Mistake {
        files: &[(WEB, "build: { dockerfile: docker/Dockerfile }\n")],
        run: &["build"],
        code: 2,
        place: "services/web/service.yaml:1:",
        words: &["error[S04", "docker/Dockerfile"],
    },
    Mistake {
        files: &[],
        run: &["deploy"],
        code: 1,
        place: "",
        words: &["error[S06", "cluster", "hint:", "--cluster"],
    },
    Mistake {
        files: &[(LOCAL, "extends: base\ncluster: { context: production }\n")],
        run: &["deploy", "--cluster", "other"],
        code: 9,
        place: "environments/local.yaml:2:",
        words: &["error[S06", "production", "other"],
    },
    Mistake {
        files: &[(
            "no-kubeconfig",
            "apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\nusers: []\n",
        )],
        run: &["status", "--cluster", "nowhere"],
        code: 2,
        place: "",
        words: &["error[S06", "nowhere"],
    },
];

#[test]
fn every_mistake_is_explained_and_touches_nothing() {
    let wrong: Vec<String> = mistakes().flat_map(missing).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn mistakes() -> impl Iterator<Item = &'static Mistake> {
    [files::MISTAKES, templates::MISTAKES, MISTAKES]
        .into_iter()
        .flatten()
}

/// What a run does not say or do about a mistake that it should.
fn missing(mistake: &Mistake) -> Vec<String> {
    let workspace = Workspace::new();
    for (path, text) in mistake.files {
        workspace.write(path, text);
    }
    let before = workspace.contents();
    let run = workspace.run(mistake.run);
    let mut wrong = Vec::new();
    if run.code != mistake.code {
        wrong.push(format!(
            "exit code {} instead of {}",
            run.code, mistake.code
        ));
    }
    if !run.stdout.is_empty() {
        wrong.push(format!("stdout: {}", run.stdout));
    }
    for word in mistake
        .words
        .iter()
        .filter(|word| !run.stderr.contains(**word))
    {
        wrong.push(format!("{word:?} is missing"));
    }
    let place = run
        .stderr
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("--> "));
    if !mistake.place.is_empty() && !place.is_some_and(|place| place.starts_with(mistake.place)) {
        wrong.push(format!("{place:?} instead of {}", mistake.place));
    }
    if !mistake.place.is_empty() && !run.stderr.contains('^') {
        wrong.push("no caret".to_owned());
    }
    if workspace.contents() != before {
        wrong.push("something was written".to_owned());
    }
    if !wrong.is_empty() {
        wrong.push(format!(
            "{:?} with {:?}:\n{}",
            mistake.run, mistake.files, run.stderr
        ));
    }
    wrong
}

#[test]
fn there_are_at_least_thirty_kinds() {
    assert!(mistakes().count() >= 30, "{}", mistakes().count());
}

#[test]
fn a_file_that_is_no_text_is_refused() {
    let workspace = Workspace::new();
    workspace.write("stack.yaml", b"name: \xff\n");
    let run = workspace.run(&["validate"]);
    assert_eq!(run.code, 2);
    assert!(
        run.stderr.contains("stack.yaml is not UTF-8 text: byte 6"),
        "{}",
        run.stderr
    );
}

#[test]
fn outside_of_a_stack_the_first_step_is_named() {
    let run = Workspace::empty().run(&["up"]);
    assert_eq!(run.code, 2);
    assert!(
        run.stderr.contains("error[S0140]") && run.stderr.contains("stackctl init"),
        "{}",
        run.stderr
    );
}

#[test]
fn another_folder_is_never_mistaken_for_the_one_beside_it() {
    let shop = Workspace::new();
    std::fs::create_dir(shop.path().join("inner")).expect("a folder");
    let outside = shop
        .path()
        .parent()
        .expect("the temporary folder is in one")
        .to_owned();
    let elsewhere = tempfile::tempdir_in(&outside).expect("a folder beside the stack");
    let name = elsewhere
        .path()
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let run = shop.run(&["-C", &format!("../{name}"), "validate"]);
    assert_eq!(
        run.code, 2,
        "the stack of the current folder was taken: {}",
        run.stderr
    );
    assert!(run.stderr.contains("error[S0140]"), "{}", run.stderr);
    assert_eq!(
        shop.run(&["-C", "inner", "validate"]).code,
        0,
        "above the named folder is looked, too"
    );
}
