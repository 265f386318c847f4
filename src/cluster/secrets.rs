//! The values of an environment's secrets: from variables and files of the caller, or made once and kept
//! in the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as SecretObject;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};

use crate::diagnostic::{Code, Diagnostic, Exit, Explain, Span};
use crate::secret::{SecretValue, SecretValues};
use crate::stack::{SecretName, SecretSource, Stack};

use super::inventory::{INSTANCE, MANAGED_BY, PART_OF, STACKCTL, generated_secret_name};
use super::objects::FIELD_MANAGER;
use super::retry::{CallError, idempotent, is_transient, once};
use super::reveal::HashKey;
use super::status::plain;

/// A variable or file that a secret comes from is missing.
const SOURCE: Code = Code::new("S0632");
/// The generated values cannot be read or written.
const GENERATED: Code = Code::new("S0633");

/// Entry of the generated values that holds the key of digests.
const HASH_KEY: &str = "stackctl-hash-key";
/// Characters of that key: 238 bits.
const HASH_KEY_LENGTH: usize = 40;
/// How often a write that others were quicker with is tried again.
const ATTEMPTS: usize = 10;

/// What a stack's objects need to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedSecrets {
    /// The value of each secret of the environment.
    pub values: SecretValues,
    /// The key of digests over them.
    pub key: HashKey,
}

/// Why there are no values.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Variables or files are missing; at least one.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Sources(Vec<SourceError>),
    /// The namespace, where generated values are kept, is not there yet.
    #[error("namespace `{0}` does not exist")]
    NoNamespace(String),
    /// The generated values cannot be read or written.
    #[error("the generated values in `Secret/{name}` cannot be {action}: {reason}")]
    Generated {
        /// The Secret.
        name: String,
        /// `read` or `written`.
        action: &'static str,
        /// Why not.
        reason: String,
    },
}

/// One secret has no value.
#[derive(Debug, thiserror::Error)]
#[error("secret `{secret}` has no value: {reason}")]
pub struct SourceError {
    /// The secret.
    pub secret: SecretName,
    /// Why not.
    pub reason: SourceReason,
    /// Where it is declared.
    pub span: Span,
}

/// Why a source gives no value.
#[derive(Debug, thiserror::Error)]
pub enum SourceReason {
    /// The variable is not set.
    #[error("the environment variable `{0}` is not set")]
    Unset(String),
    /// The variable is empty.
    #[error("the environment variable `{0}` is empty")]
    EmptyVariable(String),
    /// The variable or the file is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotText(String),
    /// The file cannot be read.
    #[error("the file `{}` cannot be read: {error}", path.display())]
    Unreadable {
        /// Relative to the repository.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is empty.
    #[error("the file `{}` is empty", .0.display())]
    EmptyFile(PathBuf),
    /// The cluster does not keep it.
    #[error("it was not generated yet")]
    NotGenerated,
}

impl Explain for SecretError {
    fn exit(&self) -> Exit {
        match self {
            Self::Sources(_) => Exit::BadInput,
            Self::NoNamespace(_) | Self::Generated { .. } => Exit::Failed,
        }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::Sources(missing) => missing.iter().map(SourceError::diagnostic).collect(),
            Self::NoNamespace(_) => vec![Diagnostic::error(GENERATED, self.to_string())],
            Self::Generated { .. } => {
                vec![Diagnostic::error(GENERATED, self.to_string()).hint(
                    "the rights to get, create and patch secrets in the namespace are needed",
                )]
            }
        }
    }
}

impl SourceError {
    fn diagnostic(&self) -> Diagnostic {
        let hint = match &self.reason {
            SourceReason::Unset(name) | SourceReason::EmptyVariable(name) => {
                format!("export {name}=… before you run this")
            }
            SourceReason::NotText(_) => "only text can be a secret's value".to_owned(),
            SourceReason::Unreadable { .. } | SourceReason::EmptyFile(_) => {
                "the path is relative to the folder of stack.yaml".to_owned()
            }
            SourceReason::NotGenerated => {
                "`stackctl deploy` makes it and gives it to the services".to_owned()
            }
        };
        Diagnostic::error(SOURCE, self.to_string())
            .at(&self.span, "declared here")
            .hint(hint)
    }
}

/// Whether every secret that comes from the caller has a value: found out before anything is done.
pub fn check_sources(stack: &Stack) -> Result<(), SecretError> {
    from_caller(stack, |_| true, |name| std::env::var_os(name)).map(drop)
}

/// The values of all secrets of the environment. Generated ones are read from the Secret
/// `<stack>-generated` of the namespace; those that are missing there are made and kept, or, without
/// `write` (a dry run), made for this run alone. What is there is never changed.
pub async fn resolve(
    stack: &Stack,
    client: &Client,
    write: bool,
) -> Result<ResolvedSecrets, SecretError> {
    let mut values = from_caller(stack, |_| true, |name| std::env::var_os(name))?;
    let mut wanted = lengths(stack);
    if wanted.is_empty() && values.is_empty() {
        return Ok(ResolvedSecrets::default());
    }
    wanted.insert(HASH_KEY.to_owned(), HASH_KEY_LENGTH);
    let store = Store::of(stack, client);
    let mut kept = store.complete(&wanted, write).await?;
    let key = HashKey::new(kept.remove(HASH_KEY).unwrap_or_default());
    for name in generated_names(stack) {
        if let Some(value) = kept.remove(name.as_str()) {
            values.insert(name.clone(), SecretValue::new(value));
        }
    }
    Ok(ResolvedSecrets { values, key })
}

/// The values of the secrets in `wanted` as the cluster's objects have them: what is generated is read, never made.
pub async fn current(
    stack: &Stack,
    client: &Client,
    wanted: &BTreeSet<SecretName>,
) -> Result<SecretValues, SecretError> {
    let is_wanted = |name: &SecretName| wanted.contains(name);
    let mut values = from_caller(stack, is_wanted, |name| std::env::var_os(name))?;
    let generated: Vec<&SecretName> = generated_names(stack)
        .filter(|name| is_wanted(name))
        .collect();
    if generated.is_empty() {
        return Ok(values);
    }
    let (_, mut kept) = Store::of(stack, client).read().await?;
    let mut missing = Vec::new();
    for name in generated {
        match kept.remove(name.as_str()) {
            Some(value) => drop(values.insert(name.clone(), SecretValue::new(value))),
            None => missing.push(SourceError {
                secret: name.clone(),
                reason: SourceReason::NotGenerated,
                span: stack.environment.secrets[name].span.clone(),
            }),
        }
    }
    if missing.is_empty() {
        Ok(values)
    } else {
        Err(SecretError::Sources(missing))
    }
}

/// The values that come from variables and files; all problems at once.
fn from_caller(
    stack: &Stack,
    is_wanted: impl Fn(&SecretName) -> bool,
    variable: impl Fn(&str) -> Option<std::ffi::OsString>,
) -> Result<SecretValues, SecretError> {
    let (mut values, mut missing) = (SecretValues::new(), Vec::new());
    let secrets = stack.environment.secrets.iter();
    for (name, secret) in secrets.filter(|(name, _)| is_wanted(name)) {
        let value = match &secret.source {
            SecretSource::Generate(_) => continue,
            SecretSource::Env(key) => from_variable(key, variable(key)),
            SecretSource::File(path) => from_file(&stack.root, path),
        };
        match value {
            Ok(value) => {
                values.insert(name.clone(), SecretValue::new(value));
            }
            Err(reason) => missing.push(SourceError {
                secret: name.clone(),
                reason,
                span: secret.span.clone(),
            }),
        }
    }
    if missing.is_empty() {
        Ok(values)
    } else {
        Err(SecretError::Sources(missing))
    }
}

fn from_variable(name: &str, value: Option<std::ffi::OsString>) -> Result<String, SourceReason> {
    let value = value.ok_or_else(|| SourceReason::Unset(name.to_owned()))?;
    let value = value
        .into_string()
        .map_err(|_| SourceReason::NotText(format!("the environment variable `{name}`")))?;
    if value.is_empty() {
        return Err(SourceReason::EmptyVariable(name.to_owned()));
    }
    Ok(value)
}

fn from_file(root: &Path, path: &Path) -> Result<String, SourceReason> {
    let bytes = std::fs::read(root.join(path)).map_err(|error| SourceReason::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    let mut text = String::from_utf8(bytes)
        .map_err(|_| SourceReason::NotText(format!("the file `{}`", path.display())))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(SourceReason::EmptyFile(path.to_owned()));
    }
    Ok(text)
}

fn generated_names(stack: &Stack) -> impl Iterator<Item = &SecretName> {
    stack
        .environment
        .secrets
        .iter()
        .filter(|(_, secret)| matches!(secret.source, SecretSource::Generate(_)))
        .map(|(name, _)| name)
}

fn lengths(stack: &Stack) -> BTreeMap<String, usize> {
    let secrets = stack.environment.secrets.iter();
    secrets
        .filter_map(|(name, secret)| match secret.source {
            SecretSource::Generate(length) => Some((name.to_string(), length)),
            _ => None,
        })
        .collect()
}

/// The Secret that keeps what was generated.
struct Store {
    api: Api<SecretObject>,
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
}

/// Values by key, as text.
type Kept = BTreeMap<String, String>;

impl Store {
    fn of(stack: &Stack, client: &Client) -> Self {
        let environment = &stack.environment;
        let labels = [
            (PART_OF, stack.name.as_str()),
            (INSTANCE, environment.name.as_str()),
            (MANAGED_BY, STACKCTL),
        ];
        Self {
            api: Api::namespaced(client.clone(), environment.namespace.as_str()),
            name: generated_secret_name(&stack.name),
            namespace: environment.namespace.to_string(),
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        }
    }

    /// The object, if there is one, and what it keeps.
    async fn read(&self) -> Result<(Option<SecretObject>, Kept), SecretError> {
        let current = idempotent(|| self.api.get_opt(&self.name))
            .await
            .map_err(|error| self.failed("read", &error))?;
        let kept = current.as_ref().map(text_of).unwrap_or_default();
        Ok((current, kept))
    }

    /// What is kept, with new values for the keys that are missing.
    async fn complete(
        &self,
        wanted: &BTreeMap<String, usize>,
        write: bool,
    ) -> Result<Kept, SecretError> {
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            let (current, mut kept) = self.read().await?;
            let missing: Kept = wanted
                .iter()
                .filter(|(key, _)| !kept.contains_key(*key))
                .map(|(key, length)| (key.clone(), random_text(*length)))
                .collect();
            if missing.is_empty() || !write {
                kept.extend(missing);
                return Ok(kept);
            }
            match self.add(current.as_ref(), &missing).await {
                Ok(()) => {
                    kept.extend(missing);
                    return Ok(kept);
                }
                // Another run was quicker: its values count. Or the answer got lost, and ours do.
                Err(error) if is_worth_another_look(&error) => last = describe(&error),
                Err(error) => return Err(self.failed("written", &error)),
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        Err(SecretError::Generated {
            name: self.name.clone(),
            action: "written",
            reason: last,
        })
    }

    async fn add(&self, current: Option<&SecretObject>, missing: &Kept) -> Result<(), CallError> {
        let data: BTreeMap<String, ByteString> = missing
            .iter()
            .map(|(key, value)| (key.clone(), ByteString(value.clone().into_bytes())))
            .collect();
        let Some(current) = current else {
            let secret = SecretObject {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    labels: Some(self.labels.clone()),
                    ..ObjectMeta::default()
                },
                data: Some(data),
                type_: Some("Opaque".to_owned()),
                ..SecretObject::default()
            };
            let parameters = PostParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PostParams::default()
            };
            return once(self.api.create(&parameters, &secret)).await.map(drop);
        };
        // The resource version makes the server refuse what was decided on an older state.
        let patch = serde_json::json!({
            "metadata": {"resourceVersion": current.metadata.resource_version},
            "data": data,
        });
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        once(
            self.api
                .patch(&self.name, &parameters, &Patch::Merge(&patch)),
        )
        .await
        .map(drop)
    }

    fn failed(&self, action: &'static str, error: &CallError) -> SecretError {
        if let CallError::Client(kube::Error::Api(status)) = error
            && status.code == 404
        {
            return SecretError::NoNamespace(self.namespace.clone());
        }
        SecretError::Generated {
            name: self.name.clone(),
            action,
            reason: describe(error),
        }
    }
}

fn is_worth_another_look(error: &CallError) -> bool {
    match error {
        CallError::Client(kube::Error::Api(status)) if status.code == 409 => true,
        CallError::Client(error) => is_transient(error),
        CallError::TimedOut(_) => false,
    }
}

/// Never more than the status line: what was sent holds values.
fn describe(error: &CallError) -> String {
    match error {
        CallError::Client(kube::Error::Api(status)) if status.code == 422 => {
            "the server finds it invalid".to_owned()
        }
        CallError::Client(error) => plain(error),
        CallError::TimedOut(_) => error.to_string(),
    }
}

fn text_of(secret: &SecretObject) -> Kept {
    secret
        .data
        .iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), String::from_utf8(value.0.clone()).ok()?)))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// Letters and digits, all equally likely, from the system's random numbers.
fn random_text(length: usize) -> String {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let random = rustls::crypto::ring::default_provider().secure_random;
    let mut text = String::with_capacity(length);
    let mut bytes = [0_u8; 64];
    while text.len() < length {
        random
            .fill(&mut bytes)
            .expect("the system has random numbers");
        for byte in bytes {
            // 248 is four times 62: what is above would make some letters likelier than others.
            if byte < 248 && text.len() < length {
                text.push(char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;
