//! Templates and a stack → objects, with every problem of every service at once.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Problems, SourceFile};
use crate::manifest::Object;
use crate::stack::{Service, ServiceName, Stack};
use crate::yaml::{self, Reserved};

use super::ast::Template;
use super::context::Shared;
use super::engine::{self, Partials};
use super::load::Templates;
use super::source::Source;
use super::value::Value;
use super::{document, env, strict, substitute};

/// Renders the templates of all services over the stack and its images: a reference for every service whose
/// templates name its image, as the built-in ones do.
///
/// Objects come in the order of the services' names, then of the templates' names. Strings with a secret
/// hold its token.
///
/// # Errors
/// All problems of all templates, each at its line.
pub fn render(
    stack: &Stack,
    templates: &Templates,
    images: &BTreeMap<ServiceName, String>,
) -> Result<Vec<Object>, Problems> {
    let mut problems = Vec::new();
    let partials = compile_partials(templates, &mut problems);
    let compiled = compile(templates, &mut problems);
    let shared = Shared::new(stack, images);
    let mut objects = Vec::new();
    for service in stack.services.values() {
        let context = context(service, &shared, &partials, &mut problems);
        for file in templates.services.get(&service.name).into_iter().flatten() {
            let Some(Some(template)) = compiled.get(file.path()) else {
                continue;
            };
            match self::objects(template, &context, &partials, &service.name) {
                Ok(found) => objects.extend(found),
                Err(found) => problems.extend(found),
            }
        }
    }
    Problems::check(without_repetition(problems))?;
    Ok(objects)
}

/// Each template once, however many services use it; none where it is broken.
fn compile<'t>(
    templates: &'t Templates,
    problems: &mut Vec<Diagnostic>,
) -> HashMap<&'t Path, Option<Template>> {
    let mut compiled = HashMap::new();
    for file in templates.services.values().flatten() {
        compiled
            .entry(file.path())
            .or_insert_with(|| compile_file(file, problems));
    }
    compiled
}

fn compile_partials(templates: &Templates, problems: &mut Vec<Diagnostic>) -> Partials {
    templates
        .partials
        .iter()
        .map(|(name, file)| (name.clone(), compile_file(file, problems)))
        .collect()
}

fn compile_file(file: &Arc<SourceFile>, problems: &mut Vec<Diagnostic>) -> Option<Template> {
    strict::compile(Source::file(file))
        .map_err(|found| problems.extend(found))
        .ok()
}

fn context(
    service: &Service,
    shared: &Shared,
    partials: &Partials,
    problems: &mut Vec<Diagnostic>,
) -> Value {
    let (env, found) = env::render(service, &shared.of(service, None), partials);
    problems.extend(found);
    shared.of(service, Some(&env))
}

fn objects(
    template: &Template,
    context: &Value,
    partials: &Partials,
    service: &ServiceName,
) -> Result<Vec<Object>, Vec<Diagnostic>> {
    let rendered = engine::render(template, context, partials)?;
    let file = SourceFile::new("", rendered.text());
    let trees = yaml::parse(&file, Reserved::Allowed)
        .map_err(|problem| vec![substitute::at_template(problem, &rendered)])?;
    let (mut objects, mut problems) = (Vec::new(), Vec::new());
    for document in substitute::documents(trees, &rendered)? {
        match document::object(document, service) {
            Ok(object) => objects.extend(object),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() {
        Ok(objects)
    } else {
        Err(problems)
    }
}

/// A template that several services share has its problems once.
fn without_repetition(problems: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut unique: Vec<Diagnostic> = Vec::with_capacity(problems.len());
    for problem in problems {
        if !unique.contains(&problem) {
            unique.push(problem);
        }
    }
    unique
}
