//! Objects as YAML for people: keys in the usual order, blocks for texts of several lines, quotes where a
//! reader could take a string for something else, and on request the source of every value.

use k8s_model::pointer::{child, item};
use serde_json::{Map, Value};

use crate::diagnostic::Span;
use crate::secret;
use crate::yaml::{Plain, plain};

use super::object::{Object, Origins};

/// How objects are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct YamlOptions {
    /// Whether every value is followed by a comment with its source:
    /// `# templates/service/deployment.yaml.hbs:31 ← environments/staging.yaml:14`.
    pub origins: bool,
}

/// These keys come first, in this order; the others follow by name, `status` last.
const FIRST_KEYS: [&str; 6] = [
    "apiVersion",
    "kind",
    "metadata",
    "name",
    "namespace",
    "image",
];

/// One document for each object, with `---` between them; secrets are shown as `<secret NAME>`.
#[must_use]
pub fn yaml(objects: &[Object], options: YamlOptions) -> String {
    let documents: Vec<String> = objects
        .iter()
        .map(|object| {
            let origins = options.origins.then_some(&object.origins);
            let mut writer = Writer {
                out: String::new(),
                origins,
            };
            writer.block(&object.value, "", 0);
            writer.out
        })
        .collect();
    documents.join("---\n")
}

struct Writer<'a> {
    out: String,
    origins: Option<&'a Origins>,
}

impl Writer<'_> {
    /// A value that starts on a line of its own.
    fn block(&mut self, value: &Value, pointer: &str, indent: usize) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (position, (key, value)) in ordered(map).into_iter().enumerate() {
                    if position > 0 {
                        self.indent(indent);
                    }
                    self.entry(key, value, &child(pointer, key), indent);
                }
            }
            Value::Array(list) if !list.is_empty() => {
                for (index, value) in list.iter().enumerate() {
                    if index > 0 {
                        self.indent(indent);
                    }
                    self.out.push_str("- ");
                    self.block(value, &item(pointer, index), indent + 2);
                }
            }
            leaf => self.leaf(leaf, pointer, indent),
        }
    }

    fn entry(&mut self, key: &str, value: &Value, pointer: &str, indent: usize) {
        self.out.push_str(&scalar(&secret::redact(key)));
        self.out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                self.out.push('\n');
                self.indent(indent + 2);
                self.block(value, pointer, indent + 2);
            }
            // Lists are not indented, as Kubernetes' own tools write them.
            Value::Array(list) if !list.is_empty() => {
                self.out.push('\n');
                self.indent(indent);
                self.block(value, pointer, indent);
            }
            leaf => {
                self.out.push(' ');
                self.leaf(leaf, pointer, indent + 2);
            }
        }
    }

    /// A value without parts; ends the line.
    fn leaf(&mut self, value: &Value, pointer: &str, indent: usize) {
        let Value::String(text) = value else {
            self.out.push_str(&value.to_string());
            return self.end_of_line(pointer);
        };
        let text = secret::redact(text);
        let Some(header) = block_header(&text) else {
            self.out.push_str(&scalar(&text));
            return self.end_of_line(pointer);
        };
        self.out.push_str(header);
        self.end_of_line(pointer);
        for line in text.strip_suffix('\n').unwrap_or(&text).split('\n') {
            if !line.is_empty() {
                self.indent(indent);
                self.out.push_str(line);
            }
            self.out.push('\n');
        }
    }

    fn end_of_line(&mut self, pointer: &str) {
        let comment = self.origins.and_then(|origins| comment(origins, pointer));
        if let Some(comment) = comment {
            self.out.push_str("  # ");
            self.out.push_str(&comment);
        }
        self.out.push('\n');
    }

    fn indent(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }
}

fn ordered(map: &Map<String, Value>) -> Vec<(&str, &Value)> {
    let rank = |key: &str| match FIRST_KEYS.iter().position(|first| *first == key) {
        Some(position) => position,
        None if key == "status" => FIRST_KEYS.len() + 1,
        None => FIRST_KEYS.len(),
    };
    let mut entries: Vec<(&str, &Value)> = map
        .iter()
        .map(|(key, value)| (key.as_str(), value))
        .collect();
    entries.sort_by_key(|(key, _)| (rank(key), *key));
    entries
}

/// `template:line ← value:line, value:line`
fn comment(origins: &Origins, pointer: &str) -> Option<String> {
    if origins.is_filled_in(pointer) {
        return Some("stackctl".to_owned());
    }
    let line = |span: &Span| format!("{}:{}", span.file().path().display(), span.position().line);
    let origin = origins.get(pointer)?;
    let values: Vec<String> = origin.values.iter().map(line).collect();
    let template = line(&origin.template);
    let text = if values.is_empty() {
        template
    } else {
        format!("{template} ← {}", values.join(", "))
    };
    Some(
        text.chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect(),
    )
}

/// The header of a literal block, where the text reads well as one.
fn block_header(text: &str) -> Option<&'static str> {
    let body = text.trim_end_matches('\n');
    let breaks = text.len() - body.len();
    let readable = |c: char| c == '\n' || c == '\t' || is_printable(c);
    if !text.contains('\n')
        || body.is_empty()
        || body.starts_with([' ', '\t', '\n'])
        || !text.chars().all(readable)
    {
        return None;
    }
    Some(match breaks {
        0 => "|-",
        1 => "|",
        _ => "|+",
    })
}

/// A string on one line, in double quotes where it needs any.
fn scalar(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// Whether every reader of YAML 1.1 and 1.2 takes the bare text for this very string.
fn is_plain(text: &str) -> bool {
    // What YAML 1.1 also knows as booleans, merge keys and defaults.
    const WORDS: [&str; 2] = ["=", "<<"];
    let Some(first) = text.chars().next() else {
        return false;
    };
    let starts_well =
        first.is_alphanumeric() || matches!(first, '/' | '_' | '.' | '$' | '(' | '+' | '-' | '<');
    // Numbers, times, dates and the like in any notation.
    let numeric = matches!(first, '0'..='9' | '.' | '+' | '-')
        && text.chars().all(|c| {
            c.is_ascii_hexdigit()
                || matches!(c, '.' | '+' | '-' | '_' | ':' | 'x' | 'o' | 'T' | 'Z' | ' ')
        });
    starts_well
        && !numeric
        && !WORDS.contains(&text)
        && !text.starts_with("- ")
        && !text.starts_with("---")
        && !text.starts_with("...")
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with([':', ' '])
        && text
            .chars()
            .all(|c| c == ' ' || (is_printable(c) && !c.is_whitespace()))
        && plain(text) == Ok(Plain::Text)
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c => out.push_str(&match u32::from(c) {
                code @ 0..=0xFF => format!("\\x{code:02X}"),
                code @ 0x100..=0xFFFF => format!("\\u{code:04X}"),
                code => format!("\\U{code:08X}"),
            }),
        }
    }
    out.push('"');
    out
}

/// What may stand in YAML as it is (1.2, production 1), less what breaks lines, is invisible, or is
/// reserved here.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}'
        )
        && !matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}')
        && !secret::RESERVED.contains(&c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::diagnostic::SourceFile;
    use crate::manifest::object::Origin;
    use crate::manifest::sample::object;
    use crate::secret::{Encoding, SecretRef};
    use crate::yaml::document;

    fn written(value: Value) -> String {
        yaml(&[object("web", value)], YamlOptions::default())
    }

    fn read(text: &str) -> Value {
        document(&SourceFile::new("out.yaml", text))
            .unwrap_or_else(|problems| panic!("{problems:?} in\n{text}"))
            .to_json()
    }

    #[test]
    fn objects_read_as_people_write_them() {
        let value = json!({
            "spec": {
                "replicas": 2,
                "template": {"spec": {
                    "containers": [{
                        "args": ["--port=80", "-v", "yes", "8080"],
                        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": ""}],
                        "image": "registry:5000/web@sha256:12ab",
                        "name": "web",
                    }],
                    "volumes": [],
                }},
            },
            "status": {},
            "metadata": {"labels": {"app.kubernetes.io/name": "web"}, "namespace": "shop", "name": "web"},
            "kind": "Deployment",
            "apiVersion": "apps/v1",
        });
        let expected = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
  labels:
    app.kubernetes.io/name: web
spec:
  replicas: 2
  template:
    spec:
      containers:
      - name: web
        image: registry:5000/web@sha256:12ab
        args:
        - --port=80
        - -v
        - \"yes\"
        - \"8080\"
        env:
        - name: A
          value: \"1\"
        - name: B
          value: \"\"
      volumes: []
status: {}
";
        assert_eq!(written(value), expected);
    }

    #[test]
    fn texts_of_several_lines_are_blocks() {
        let value = json!({"data": {
            "a": "one\ntwo\n", "b": "one\n\n  two", "c": "one\n\n\n", "d": " one\ntwo", "e": "\n",
        }});
        let expected = "\
data:
  a: |
    one
    two
  b: |-
    one

      two
  c: |+
    one


  d: \" one\\ntwo\"
  e: \"\\n\"
";
        assert_eq!(written(value.clone()), expected);
        assert_eq!(read(expected), value);
    }

    #[test]
    fn what_a_reader_could_misread_is_quoted() {
        for text in [
            "",
            " a",
            "a ",
            "yes",
            "No",
            "on",
            "y",
            "null",
            "~",
            "true",
            "0644",
            "1_000",
            "1e3",
            "12:30:45",
            "0x1F",
            "0b11",
            "2024-01-01",
            "2024-01-01T00:00:00Z",
            ".inf",
            ".5",
            "-1",
            "+1",
            "=",
            "<<",
            "-",
            "- a",
            "---",
            "? a",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a",
            "{a}",
            "[a]",
            "'a'",
            "\"a\"",
            "#a",
            "a #b",
            "a: b",
            "a:",
            "|",
            ">",
            ",",
            "a\tb",
            "\u{85}",
            "\u{2028}",
            "a\u{202E}b",
            "1.2.3",
        ] {
            assert_eq!(
                written(json!({ "k": text })),
                format!("k: {}\n", quoted(text)),
                "{text:?}"
            );
        }
        for text in [
            "a",
            "a b",
            "50m",
            "128Mi",
            "30s",
            "a:b",
            "a#b",
            "http://x:80/?a=b&c",
            "--flag",
            "/data",
            "é",
        ] {
            assert_eq!(
                written(json!({ "k": text })),
                format!("k: {text}\n"),
                "{text:?}"
            );
        }
        assert_eq!(
            written(json!({"on": 1, "a: b": 2})),
            "\"a: b\": 2\n\"on\": 1\n"
        );
    }

    #[test]
    fn secrets_are_shown_by_name_only() {
        let token = SecretRef {
            name: "password".parse().unwrap(),
            encodings: vec![Encoding::Url],
        }
        .token();
        let text = written(
            json!({"stringData": {"url": format!("postgres://me:{token}@db"), "p": token}}),
        );
        assert_eq!(
            text,
            "stringData:\n  p: <secret password>\n  url: postgres://me:<secret password>@db\n"
        );
    }

    #[test]
    fn documents_are_separated() {
        let objects = [
            object("web", json!({"a": 1})),
            object("web", json!({"b": 2})),
        ];
        assert_eq!(yaml(&objects, YamlOptions::default()), "a: 1\n---\nb: 2\n");
        assert_eq!(yaml(&[], YamlOptions::default()), "");
    }

    #[test]
    fn every_value_can_be_followed_by_its_source() {
        let template = SourceFile::new(
            "templates/d.yaml.hbs",
            "kind: D\nspec:\n  replicas: {{x}}\n",
        );
        let values = SourceFile::new("environments/staging.yaml", "a: 1\nreplicas: 3\n");
        let mut object = object(
            "web",
            json!({"kind": "D", "spec": {"replicas": 3, "text": "a\nb\n", "none": []}}),
        );
        object.origins = Origins::default();
        let at = |file, range| Span::new(file, range);
        let from = |range, values| Origin {
            template: at(&template, range),
            values,
        };
        object.origins.insert(String::new(), from(0..4, vec![]));
        object.origins.insert("/spec".into(), from(8..12, vec![]));
        object.origins.insert(
            "/spec/replicas".into(),
            from(26..31, vec![at(&values, 15..16)]),
        );
        object.origins.fill_in("/spec/none".into());
        let text = yaml(&[object.clone()], YamlOptions { origins: true });
        let expected = "\
kind: D  # templates/d.yaml.hbs:1
spec:
  none: []  # stackctl
  replicas: 3  # templates/d.yaml.hbs:3 ← environments/staging.yaml:2
  text: |  # templates/d.yaml.hbs:2
    a
    b
";
        assert_eq!(text, expected);
        assert_eq!(read(&text), object.value);
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[-a-z0-9:\\[\\]{}&*!|>'\"#%@` \\n\\t,?~<=._/+é]{0,12}",
            "(yes|no|null|0x1|1e3|~|-|\\.|<<|\u{85}|\u{2028}|\u{FEFF}|\r|\0|\u{10FFFF}|\u{1F600}| |\n){0,4}",
            any::<String>(),
        ]
        .prop_filter("reserved characters are refused in all inputs", |text| {
            !text.chars().any(|c| secret::RESERVED.contains(&c))
        })
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e300_f64..1e300).prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(text(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in json_value(), origins in any::<bool>()) {
            let root = json!({"root": value});
            let text = yaml(&[object("web", root.clone())], YamlOptions { origins });
            prop_assert_eq!(read(&text), root, "{}", text);
        }
    }
}
