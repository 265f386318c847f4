//! Every kind of broken input: exit code, place, words of the message and of the hint; and nothing is touched.

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
const TEMPLATE: &str = "templates/web/thing.yaml.hbs";

/// A ConfigMap whose one value is the expression under test, on line 5.
macro_rules! config_map {
    ($line:literal) => {
        concat!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: web }\ndata:\n",
            $line,
            "\n"
        )
    };
}

const MISTAKES: &[Mistake] = &[
    // YAML
    Mistake {
        files: &[("stack.yaml", "name: shop\nservices: [web, db\n")],
        run: &["validate"],
        code: 2,
        place: "stack.yaml:2:11",
        words: &["error[S0101]", "not valid YAML"],
    },
    Mistake {
        files: &[(WEB, "build:\n\timage: web\n")],
        run: &["validate"],
        code: 2,
        place: "services/web/service.yaml:2:2",
        words: &["error[S0101]", "hint: indent with spaces"],
    },
    Mistake {
        files: &[(
            "stack.yaml",
            "name: shop\nname: shop\nservices: [web, db]\n",
        )],
        run: &["validate"],
        code: 2,
        place: "stack.yaml:2:1",
        words: &["error[S0102]", "`name` is there twice", "first here"],
    },
    Mistake {
        files: &[(LOCAL, "cluster: local\nprotected: yes\n")],
        run: &["validate"],
        code: 2,
        place: "environments/local.yaml:2:12",
        words: &[
            "error[S0103]",
            "`yes` means different things",
            "hint: quote it (\"yes\") or write true",
        ],
    },
    Mistake {
        files: &[(
            "stack.yaml",
            "name: shop\nservices: [web, db]\nvalues: { mode: 0644 }\n",
        )],
        run: &["validate"],
        code: 2,
        place: "stack.yaml:3:17",
        words: &["error[S0103]", "write 420 if an octal number is meant"],
    },
    // the shape of the files
    Mistake {
        files: &[(WEB, "build: { image: web }\nprots: { http: 8080 }\n")],
        run: &["up"],
        code: 2,
        place: "services/web/service.yaml:2:1",
        words: &[
            "error[S0110]",
            "unknown key `prots`",
            "hint: did you mean `ports`?",
        ],
    },
    Mistake {
        files: &[(WEB, "build: { image: web }\nports: { http: eighty }\n")],
        run: &["deploy"],
        code: 2,
        place: "services/web/service.yaml:2:16",
        words: &["error[S0111]", "expected an integer, found a string"],
    },
    Mistake {
        files: &[("stack.yaml", "services: [web, db]\n")],
        run: &["render"],
        code: 2,
        place: "stack.yaml:1:1",
        words: &["error[S0112]", "the key `name` is missing"],
    },
    Mistake {
        files: &[(WEB, "build: { image: web, cargo: web }\n")],
        run: &["build"],
        code: 2,
        place: "services/web/service.yaml:1:8",
        words: &[
            "error[S0121]",
            "more than one builder",
            "hint: one of",
            "only cargo, files and packages go together",
        ],
    },
    Mistake {
        files: &[("stack.yaml", "name: shop\nservices: [web, db, api]\n")],
        run: &["render"],
        code: 2,
        place: "stack.yaml:2:21",
        words: &[
            "error[S0142]",
            "the service api has no file",
            "services/api/service.yaml does not exist",
        ],
    },
    Mistake {
        files: &[(
            LOCAL,
            "extends: base\ncluster: local\nservices: { db: { enabled: false } }\n",
        )],
        run: &["render"],
        code: 2,
        place: "services/web/service.yaml:8:9",
        words: &[
            "error[S0135]",
            "web needs db, which is disabled in this environment",
            "environments/local.yaml:3:28",
            "db is disabled here",
            "hint: enable db, disable web too",
        ],
    },
    Mistake {
        files: &[(WEB, "build: { image: web }\nneeds: [dp]\n")],
        run: &["render"],
        code: 2,
        place: "services/web/service.yaml:2:9",
        words: &[
            "error[S0130]",
            "no service `dp`",
            "hint: did you mean `db`?",
        ],
    },
    Mistake {
        files: &[
            (WEB, "build: { image: web }\nneeds: [db]\n"),
            (
                "services/db/service.yaml",
                "build: { image: db }\nneeds: [web]\n",
            ),
        ],
        run: &["render"],
        code: 2,
        place: "services/db/service.yaml:2:9",
        words: &[
            "error[S0131]",
            "services need each other: db → web → db",
            "web needs db",
        ],
    },
    Mistake {
        files: &[(
            WEB,
            "build: { image: web }\nports: { http: 8080 }\nforward: { http: 15432 }\n",
        )],
        run: &["port-forward"],
        code: 2,
        place: "services/web/service.yaml:3:18",
        words: &["error[S0132]", "forwarded to one local port", "db:sql here"],
    },
    Mistake {
        files: &[(
            WEB,
            "build: { image: web }\nvolumes: { d: { path: data, size: 1Gi } }\n",
        )],
        run: &["validate"],
        code: 2,
        place: "services/web/service.yaml:2:23",
        words: &["error[S0113]", "absolute path"],
    },
    Mistake {
        files: &[("stack.yaml", "name: shop\nservices: []\n")],
        run: &["validate"],
        code: 2,
        place: "stack.yaml:2:11",
        words: &["error[S0113]", "at least one service"],
    },
    Mistake {
        files: &[(
            LOCAL,
            "cluster: local\nservices:\n  web: { enabled: false }\n  db: { enabled: false }\n",
        )],
        run: &["render"],
        code: 2,
        place: "environments/local.yaml:4:18",
        words: &[
            "error[S0136]",
            "a stack has at least one service, and local disables them all",
            "db is disabled here",
            "web is disabled here",
            "hint: enable one of them",
        ],
    },
    Mistake {
        files: &[(WEB, "build: { image: web }\nprobes: { port: nope }\n")],
        run: &["validate"],
        code: 2,
        place: "services/web/service.yaml:2:17",
        words: &[
            "error[S0133]",
            "web has no port `nope`",
            "hint: `probes.port` takes the name of one of `ports`",
        ],
    },
    Mistake {
        files: &[(
            WEB,
            "build: { image: web }\nports: { http: 8080, admin: 8080 }\n",
        )],
        run: &["validate"],
        code: 2,
        place: "services/web/service.yaml:2:16",
        words: &["error[S0113]", "the ports admin and http have one number"],
    },
    Mistake {
        files: &[(WEB, "build: { image: \"Bad Image!\" }\n")],
        run: &["validate"],
        code: 2,
        place: "services/web/service.yaml:1:17",
        words: &["error[S0113]", "`Bad Image!` is no reference of an image"],
    },
    Mistake {
        files: &[(WEB, "build: { image: web }\nreadyWithin: 0s\n")],
        run: &["validate"],
        code: 2,
        place: "services/web/service.yaml:2:14",
        words: &["error[S0113]", "at least a second"],
    },
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
    // templates
    Mistake {
        files: &[(TEMPLATE, config_map!("  a: \"{{values.colour}}\""))],
        run: &["render"],
        code: 2,
        place: "templates/web/thing.yaml.hbs:5:",
        words: &["error[S02", "colour"],
    },
    Mistake {
        files: &[(
            WEB,
            "build: { image: web }\nenv: { LEVEL: \"{{stack.values.log_levle}}\" }\n",
        )],
        run: &["render"],
        code: 2,
        place: "services/web/service.yaml:2:",
        words: &["error[S02", "log_levle", "did you mean `log_level`?"],
    },
    Mistake {
        files: &[(TEMPLATE, config_map!("  a: \"{{#if values.replicas}}x\""))],
        run: &["render"],
        code: 2,
        place: "templates/web/thing.yaml.hbs:",
        words: &["error[S02"],
    },
    Mistake {
        files: &[(TEMPLATE, config_map!("  a: \"{{values}}\""))],
        run: &["render"],
        code: 2,
        place: "templates/web/thing.yaml.hbs:5:",
        words: &["error[S02", "{{json"],
    },
    Mistake {
        files: &[(TEMPLATE, config_map!("  a: \"{{{namespace}}}\""))],
        run: &["render"],
        code: 2,
        place: "templates/web/thing.yaml.hbs:5:",
        words: &["error[S02", "{{{"],
    },
    Mistake {
        files: &[(TEMPLATE, config_map!("  a: \"{{> missing}}\""))],
        run: &["render"],
        code: 2,
        place: "templates/web/thing.yaml.hbs:5:",
        words: &["error[S02", "missing"],
    },
    Mistake {
        files: &[(TEMPLATE, config_map!("  a: \"{{secrets.db-password}}\""))],
        run: &["render"],
        code: 2,
        place: "templates/web/thing.yaml.hbs:5:",
        words: &["error[S02", "db-password", "secretKeyRef"],
    },
    Mistake {
        files: &[(
            WEB,
            "build: { image: web }\nenv: { A: \"{{secrets.db-pasword}}\" }\n",
        )],
        run: &["render"],
        code: 2,
        place: "services/web/service.yaml:2:",
        words: &["error[S02", "db-pasword", "did you mean `db-password`?"],
    },
    // manifests
    Mistake {
        files: &[(
            TEMPLATE,
            "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: web }\ndta: {}\n",
        )],
        run: &["validate"],
        code: 2,
        place: "templates/web/thing.yaml.hbs:4:",
        words: &["error[S03", "dta", "data"],
    },
    Mistake {
        files: &[(
            TEMPLATE,
            "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: web }\ndata: { a: 1 }\n",
        )],
        run: &["validate"],
        code: 2,
        place: "templates/web/thing.yaml.hbs:4:",
        words: &["error[S03", "string"],
    },
    Mistake {
        files: &[(TEMPLATE, "kind: ConfigMap\nmetadata: { name: web }\n")],
        run: &["validate"],
        code: 2,
        place: "templates/web/thing.yaml.hbs:1:",
        words: &["error[S0", "apiVersion"],
    },
    Mistake {
        files: &[(
            TEMPLATE,
            "apiVersion: v1\nkind: Pod\nmetadata: { name: web }\nspec: { containers: [{ name: a, image: b }] }\n",
        )],
        run: &["validate"],
        code: 2,
        place: "templates/web/thing.yaml.hbs:",
        words: &["error[S03", "runAsNonRoot"],
    },
    Mistake {
        files: &[(
            TEMPLATE,
            "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: { name: web }\n",
        )],
        run: &["validate"],
        code: 2,
        place: "templates/web/thing.yaml.hbs:1:",
        words: &["error[S03", "policy/v1"],
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
    let wrong: Vec<String> = MISTAKES.iter().flat_map(missing).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
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
    assert!(MISTAKES.len() >= 30, "{}", MISTAKES.len());
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
