//! Templates, and the manifests that they make.

use super::{Mistake, WEB};

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

pub(super) const MISTAKES: &[Mistake] = &[
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
];
