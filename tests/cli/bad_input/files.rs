//! Files that cannot be read, or do not fit together.

use super::{LOCAL, Mistake, WEB};

pub(super) const MISTAKES: &[Mistake] = &[
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
];
