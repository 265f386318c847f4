//! The functions of templates, such as `(eq a b)`: pure, over values that may be secret.

use std::cmp::Ordering;
use std::rc::Rc;

use crate::diagnostic::did_you_mean;
use crate::secret::{self, Encoding, Piece};

use super::value::{Data, Value};

/// A function that templates can call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Eq,
    Ne,
    Gt,
    Gte,
    Lt,
    Lte,
    And,
    Or,
    Not,
    Len,
    Lookup,
    Json,
    Urlencode,
    B64,
    Default,
    Required,
}

/// Name, fewest arguments, most arguments.
const ALL: [(&str, Function, usize, usize); 16] = [
    ("eq", Function::Eq, 2, 2),
    ("ne", Function::Ne, 2, 2),
    ("gt", Function::Gt, 2, 2),
    ("gte", Function::Gte, 2, 2),
    ("lt", Function::Lt, 2, 2),
    ("lte", Function::Lte, 2, 2),
    ("and", Function::And, 2, usize::MAX),
    ("or", Function::Or, 2, usize::MAX),
    ("not", Function::Not, 1, 1),
    ("len", Function::Len, 1, 1),
    ("lookup", Function::Lookup, 2, 2),
    ("json", Function::Json, 1, 1),
    ("urlencode", Function::Urlencode, 1, 1),
    ("b64", Function::B64, 1, 1),
    ("default", Function::Default, 2, 2),
    ("required", Function::Required, 1, 2),
];

/// Why a function has no result.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FunctionError {
    #[error("`{function}` cannot take a secret")]
    Secret { function: &'static str },
    #[error("`b64` cannot take text with a secret inside it")]
    PartlySecret,
    #[error("`{function}` cannot take {found}")]
    Type {
        function: &'static str,
        found: &'static str,
    },
    #[error("`{function}` cannot compare {left} with {right}")]
    Compare {
        function: &'static str,
        left: &'static str,
        right: &'static str,
    },
    #[error("there is no `{key}` to look up")]
    Missing { key: String, keys: Vec<String> },
    #[error("{0}")]
    Required(String),
}

impl Function {
    pub(super) fn by_name(name: &str) -> Option<Self> {
        ALL.iter()
            .find(|(known, ..)| *known == name)
            .map(|(_, function, ..)| *function)
    }

    pub(super) fn name(self) -> &'static str {
        self.entry().0
    }

    /// How many arguments it takes, in words, where `count` is wrong.
    pub(super) fn refuses_count(self, count: usize) -> Option<String> {
        let (.., fewest, most) = *self.entry();
        let noun = |n: usize| if n == 1 { "argument" } else { "arguments" };
        if (fewest..=most).contains(&count) {
            None
        } else if most == usize::MAX {
            Some(format!("at least {fewest} {}", noun(fewest)))
        } else if fewest == most {
            Some(format!("{fewest} {}", noun(fewest)))
        } else {
            Some(format!("{fewest} to {most} arguments"))
        }
    }

    /// Whether its result is true or false, so that it can stand as a block: `{{#eq a b}}`.
    pub(super) fn is_condition(self) -> bool {
        use Function::{And, Eq, Gt, Gte, Lt, Lte, Ne, Not, Or};
        matches!(self, Eq | Ne | Gt | Gte | Lt | Lte | And | Or | Not)
    }

    /// All names.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        ALL.iter().map(|(name, ..)| *name)
    }

    fn entry(self) -> &'static (&'static str, Self, usize, usize) {
        ALL.iter()
            .find(|(_, function, ..)| *function == self)
            .expect("every function is in the table")
    }
}

/// Calls `function`; the result comes from wherever its arguments come from.
pub(super) fn call(function: Function, arguments: &[Value]) -> Result<Value, FunctionError> {
    if arguments.iter().any(Value::is_unknown) {
        return Ok(Value::unknown());
    }
    let takes_secrets = matches!(function, Function::Urlencode | Function::B64);
    if !takes_secrets && arguments.iter().any(Value::holds_secret) {
        return Err(FunctionError::Secret {
            function: function.name(),
        });
    }
    let result = apply(function, arguments)?;
    // Of a collection only the value that is found counts; it is the nearest place and comes last.
    let counting = if function == Function::Lookup {
        &arguments[1..]
    } else {
        arguments
    };
    let mut sources = Vec::new();
    for source in counting.iter().flat_map(Value::all_sources) {
        if !sources.contains(&source) && !result.sources.contains(&source) {
            sources.push(source);
        }
    }
    sources.extend(result.sources.iter().cloned());
    Ok(result.with_sources(sources))
}

/// `and`, `or` and conditions: whether a value counts as true.
fn truthy(value: &Value) -> bool {
    value.is_truthy(false)
}

fn apply(function: Function, arguments: &[Value]) -> Result<Value, FunctionError> {
    let bool = |value: bool| Ok(Value::new(Data::Bool(value)));
    let text = |text: String| Ok(Value::text(&text));
    let first = &arguments[0];
    let second = arguments.get(1);
    match function {
        Function::Eq => bool(second.is_some_and(|second| first.to_json() == second.to_json())),
        Function::Ne => bool(second.is_some_and(|second| first.to_json() != second.to_json())),
        Function::Gt => bool(compare(function, arguments)? == Ordering::Greater),
        Function::Gte => bool(compare(function, arguments)? != Ordering::Less),
        Function::Lt => bool(compare(function, arguments)? == Ordering::Less),
        Function::Lte => bool(compare(function, arguments)? != Ordering::Greater),
        Function::And => bool(arguments.iter().all(truthy)),
        Function::Or => bool(arguments.iter().any(truthy)),
        Function::Not => bool(!truthy(first)),
        Function::Len => length(first),
        Function::Lookup => lookup(first, &arguments[1]),
        Function::Json => text(first.to_json().to_string()),
        Function::Urlencode => text(urlencode(&scalar_text(function, first)?)),
        Function::B64 => text(b64(&scalar_text(function, first)?)?),
        Function::Default => Ok(match first.data {
            Data::Null => arguments[1].clone(),
            _ => first.clone(),
        }),
        Function::Required => required(first, second),
    }
}

fn compare(function: Function, arguments: &[Value]) -> Result<Ordering, FunctionError> {
    let (left, right) = (&arguments[0], &arguments[1]);
    let ordering = match (&left.data, &right.data) {
        (Data::Number(a), Data::Number(b)) => compare_numbers(a, b),
        (Data::String(a), Data::String(b)) => Some(a.cmp(b)),
        (Data::Bool(a), Data::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    };
    ordering.ok_or_else(|| FunctionError::Compare {
        function: function.name(),
        left: left.type_name(),
        right: right.type_name(),
    })
}

fn compare_numbers(a: &serde_json::Number, b: &serde_json::Number) -> Option<Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn length(value: &Value) -> Result<Value, FunctionError> {
    let length = match &value.data {
        Data::String(text) => text.chars().count(),
        Data::List(items) => items.len(),
        Data::Map(entries) => entries.len(),
        _ => {
            return Err(FunctionError::Type {
                function: "len",
                found: value.type_name(),
            });
        }
    };
    Ok(Value::integer(length))
}

fn lookup(collection: &Value, key: &Value) -> Result<Value, FunctionError> {
    let missing = |keys: Vec<String>| FunctionError::Missing {
        key: match &key.data {
            Data::String(text) => text.to_string(),
            _ => key.to_json().to_string(),
        },
        keys,
    };
    match (&collection.data, &key.data) {
        (Data::Map(entries), Data::String(name)) => entries
            .get(&**name)
            .cloned()
            .ok_or_else(|| missing(entries.keys().cloned().collect())),
        (Data::List(items), Data::Number(index)) => index
            .as_u64()
            .and_then(|index| items.get(usize::try_from(index).ok()?))
            .cloned()
            .ok_or_else(|| missing(Vec::new())),
        (Data::Map(_), _) | (Data::List(_), _) => Err(FunctionError::Type {
            function: "lookup",
            found: key.type_name(),
        }),
        _ => Err(FunctionError::Type {
            function: "lookup",
            found: collection.type_name(),
        }),
    }
}

fn required(value: &Value, message: Option<&Value>) -> Result<Value, FunctionError> {
    let empty = match &value.data {
        Data::Null => true,
        Data::String(text) => text.is_empty(),
        _ => false,
    };
    if !empty {
        return Ok(value.clone());
    }
    Err(FunctionError::Required(
        match message.map(|message| &message.data) {
            Some(Data::String(text)) => text.to_string(),
            _ => "a required value is empty".to_owned(),
        },
    ))
}

fn scalar_text(function: Function, value: &Value) -> Result<Rc<str>, FunctionError> {
    match &value.data {
        Data::String(text) => Ok(Rc::clone(text)),
        Data::Bool(value) => Ok(value.to_string().into()),
        Data::Number(number) if !number.is_f64() => Ok(number.to_string().into()),
        _ => Err(FunctionError::Type {
            function: function.name(),
            found: value.type_name(),
        }),
    }
}

/// Byte by byte, so that text and secrets inside it can be encoded piece by piece.
fn urlencode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for piece in secret::pieces(text) {
        match piece {
            Piece::Text(text) => encoded.push_str(&secret::encode(text, Encoding::Url)),
            Piece::Secret(mut reference) => {
                reference.encodings.push(Encoding::Url);
                encoded.push_str(&reference.token());
            }
        }
    }
    encoded
}

fn b64(text: &str) -> Result<String, FunctionError> {
    match secret::pieces(text).as_mut_slice() {
        [Piece::Secret(reference)] => {
            reference.encodings.push(Encoding::Base64);
            Ok(reference.token())
        }
        _ if secret::is_secret(text) => Err(FunctionError::PartlySecret),
        _ => Ok(secret::encode(text, Encoding::Base64)),
    }
}

impl FunctionError {
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Secret { .. } => Some(
                "a secret can be written as it is, through `urlencode` or through `b64`; nothing else may depend on it"
                    .to_owned(),
            ),
            Self::PartlySecret => {
                Some("put the text into `stringData`: there it needs no base64".to_owned())
            }
            Self::Missing { key, keys } => {
                did_you_mean(key, keys.iter().map(String::as_str))
                    .map(|near| format!("did you mean `{near}`?"))
                    .or_else(|| (!keys.is_empty()).then(|| format!("there are: {}", keys.join(", "))))
            }
            Self::Compare { .. } => Some("compare numbers with numbers and text with text".to_owned()),
            Self::Type { .. } | Self::Required(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::secret::SecretRef;

    fn run(name: &str, arguments: &[serde_json::Value]) -> Result<serde_json::Value, String> {
        let arguments: Vec<Value> = arguments.iter().map(Value::from_json).collect();
        call(Function::by_name(name).unwrap(), &arguments)
            .map(|value| value.to_json())
            .map_err(|error| error.to_string())
    }

    fn secret(encodings: &[Encoding]) -> String {
        SecretRef {
            name: "password".parse().unwrap(),
            encodings: encodings.to_vec(),
        }
        .token()
    }

    #[test]
    fn functions_compute() {
        for (name, arguments, expected) in [
            ("eq", vec![json!("a"), json!("a")], json!(true)),
            ("eq", vec![json!(1), json!("1")], json!(false)),
            ("ne", vec![json!(1), json!(2)], json!(true)),
            ("gt", vec![json!(2), json!(1)], json!(true)),
            ("gt", vec![json!(2), json!(2)], json!(false)),
            ("gte", vec![json!(2), json!(2.0)], json!(true)),
            ("lt", vec![json!("a"), json!("b")], json!(true)),
            (
                "lt",
                vec![
                    json!(9_007_199_254_740_992_i64),
                    json!(9_007_199_254_740_993_i64),
                ],
                json!(true),
            ),
            ("lte", vec![json!(u64::MAX), json!(-1)], json!(false)),
            ("and", vec![json!(1), json!("x"), json!([])], json!(false)),
            ("or", vec![json!(null), json!(0), json!("x")], json!(true)),
            ("not", vec![json!("")], json!(true)),
            ("len", vec![json!("é!")], json!(2)),
            ("len", vec![json!({"a": 1})], json!(1)),
            ("lookup", vec![json!({"a": 1}), json!("a")], json!(1)),
            ("lookup", vec![json!([5, 6]), json!(1)], json!(6)),
            (
                "json",
                vec![json!({"b": [1.5, "x\n"], "a": null})],
                json!(r#"{"a":null,"b":[1.5,"x\n"]}"#),
            ),
            ("urlencode", vec![json!("a b/ü")], json!("a%20b%2F%C3%BC")),
            ("urlencode", vec![json!(8080)], json!("8080")),
            ("b64", vec![json!("ab")], json!("YWI=")),
            ("default", vec![json!(null), json!(3)], json!(3)),
            ("default", vec![json!(0), json!(3)], json!(0)),
            ("required", vec![json!("x")], json!("x")),
        ] {
            assert_eq!(run(name, &arguments), Ok(expected), "{name} {arguments:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        for (name, arguments, words) in [
            (
                "gt",
                vec![json!(1), json!("2")],
                "`gt` cannot compare an integer with a string",
            ),
            (
                "gt",
                vec![json!(null), json!(2)],
                "`gt` cannot compare null with an integer",
            ),
            ("len", vec![json!(1)], "`len` cannot take an integer"),
            (
                "lookup",
                vec![json!({"a": 1}), json!("b")],
                "there is no `b` to look up",
            ),
            (
                "lookup",
                vec![json!([1]), json!(1)],
                "there is no `1` to look up",
            ),
            (
                "lookup",
                vec![json!("a"), json!(0)],
                "`lookup` cannot take a string",
            ),
            (
                "urlencode",
                vec![json!([1])],
                "`urlencode` cannot take a list",
            ),
            ("b64", vec![json!(null)], "`b64` cannot take null"),
            (
                "required",
                vec![json!(null), json!("set values.domain")],
                "set values.domain",
            ),
            ("required", vec![json!("")], "a required value is empty"),
        ] {
            assert_eq!(
                run(name, &arguments),
                Err(words.to_owned()),
                "{name} {arguments:?}"
            );
        }
    }

    #[test]
    fn secrets_go_through_encodings_only() {
        let plain = json!(secret(&[]));
        let both = [Encoding::Url, Encoding::Base64];
        assert_eq!(
            run("urlencode", std::slice::from_ref(&plain)),
            Ok(json!(secret(&both[..1])))
        );
        assert_eq!(
            run("b64", &[json!(secret(&both[..1]))]),
            Ok(json!(secret(&both)))
        );
        let url = json!(format!("a b{}", secret(&[])));
        assert_eq!(
            run("urlencode", std::slice::from_ref(&url)),
            Ok(json!(format!("a%20b{}", secret(&both[..1]))))
        );
        assert!(
            run("b64", &[url])
                .unwrap_err()
                .contains("with a secret inside")
        );
        for name in Function::names().filter(|name| !matches!(*name, "urlencode" | "b64")) {
            let error = run(name, &[json!({"inside": [&plain]}), plain.clone()]).unwrap_err();
            assert_eq!(error, format!("`{name}` cannot take a secret"));
        }
    }

    #[test]
    fn a_misspelt_key_gets_a_hint() {
        let entries = Value::from_json(&json!({"replicas": 1, "domain": 2}));
        let error = call(Function::Lookup, &[entries, Value::text("replica")]).unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("did you mean `replicas`?"));
    }
}
