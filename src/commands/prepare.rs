//! What every command that knows the stack's objects starts with: files → checked objects. No cluster.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Problems};
use crate::event::{Event, Silent};
use crate::image::{self, BuildReport, BuiltImage, ImageSpec};
use crate::manifest::{self, Object};
use crate::settings::Place;
use crate::stack::{ServiceName, Stack};
use crate::template;
use crate::timings::Step;

use super::{CommandError, Env};

/// `--images` names no file that `build --images` wrote.
const IMAGES_FILE: Code = Code::new("S0163");

/// A stack and what it shall be in the cluster.
pub(super) struct Desired {
    /// The model.
    pub(super) stack: Stack,
    /// The image of every service.
    pub(super) images: BTreeMap<ServiceName, ImageSpec>,
    /// The images that a file names: what the sources are now does not matter for them.
    pub(super) named: BTreeMap<ServiceName, BuiltImage>,
    templates: template::Templates,
    /// Every object of every service, checked.
    pub(super) objects: Vec<Object>,
}

/// Loads, renders and checks everything; `-s` narrows nothing here, so that mistakes anywhere are found.
pub(super) fn desired(place: &Place, env: &Env) -> Result<Desired, CommandError> {
    desired_with(place, None, env)
}

/// As [`desired`], with the images that a file names instead of those with the computed tags.
pub(super) fn desired_with(
    place: &Place,
    images_file: Option<&Path>,
    env: &Env,
) -> Result<Desired, CommandError> {
    let stack = place.load()?;
    let templates = template::load(&stack)?;
    let finding = env.timings.common(Step::Inputs);
    let mut images = image::specs(&stack, None)?;
    finding.end();
    let named = match images_file {
        Some(file) => named(file, &mut images)?,
        None => BTreeMap::new(),
    };
    let objects = objects(&stack, &templates, &references(&images), env)?;
    Ok(Desired {
        stack,
        images,
        named,
        templates,
        objects,
    })
}

/// The images of a file, whose references those of `images` become.
fn named(
    file: &Path,
    images: &mut BTreeMap<ServiceName, ImageSpec>,
) -> Result<BTreeMap<ServiceName, BuiltImage>, Problems> {
    let named = read_images(file)?.images;
    for (service, image) in &named {
        let spec = images
            .get_mut(service)
            .ok_or_else(|| no_such_service(service, file))?;
        spec.reference.clone_from(&image.reference);
    }
    Ok(named)
}

fn references(images: &BTreeMap<ServiceName, ImageSpec>) -> BTreeMap<ServiceName, String> {
    images
        .iter()
        .map(|(service, spec)| (service.clone(), spec.reference.clone()))
        .collect()
}

fn no_such_service(service: &ServiceName, file: &Path) -> Problems {
    Diagnostic::error(
        IMAGES_FILE,
        format!("{}: the stack has no service `{service}`", file.display()),
    )
    .hint("write it anew: `stackctl build --images FILE`")
    .into()
}

fn read_images(file: &Path) -> Result<BuildReport, Problems> {
    let problem = |error: &dyn std::fmt::Display| {
        Diagnostic::error(IMAGES_FILE, format!("{}: {error}", file.display()))
    };
    let text = std::fs::read_to_string(file).map_err(|error| problem(&error))?;
    Ok(BuildReport::from_json(&text).map_err(|error| {
        problem(&error)
            .caused_by(&error)
            .hint("write it anew: `stackctl build --images FILE`")
    })?)
}

fn objects(
    stack: &Stack,
    templates: &template::Templates,
    images: &BTreeMap<ServiceName, String>,
    env: &Env,
) -> Result<Vec<Object>, CommandError> {
    let objects = manifest::complete(template::render(stack, templates, images)?, stack)?;
    for warning in Problems::check(manifest::check(&objects))? {
        env.events.emit(Event::Warning(warning));
    }
    Ok(objects)
}

impl Desired {
    /// Renders again where images have other references now: a registry has told their digests.
    pub(super) fn take_images(
        &mut self,
        built: &BuildReport,
        env: &Env,
    ) -> Result<(), CommandError> {
        let mut is_new = false;
        for (service, image) in &built.images {
            if let Some(spec) = self.images.get_mut(service)
                && spec.reference != image.reference
            {
                spec.reference.clone_from(&image.reference);
                is_new = true;
            }
        }
        if is_new {
            // What there was to warn of has been said.
            let env = Env {
                events: Arc::new(Silent),
                ..env.clone()
            };
            self.objects = objects(
                &self.stack,
                &self.templates,
                &references(&self.images),
                &env,
            )?;
        }
        Ok(())
    }

    /// The objects of the services that a command works on.
    pub(super) fn chosen(&self, place: &Place) -> Vec<Object> {
        let chosen = |object: &&Object| {
            object
                .service
                .as_ref()
                .is_none_or(|service| place.includes(service))
        };
        self.objects.iter().filter(chosen).cloned().collect()
    }

    /// The images of the services that a command works on.
    pub(super) fn chosen_images(&self, place: &Place) -> BTreeMap<ServiceName, ImageSpec> {
        let chosen = self
            .images
            .iter()
            .filter(|(service, _)| place.includes(service));
        chosen
            .map(|(service, spec)| (service.clone(), spec.clone()))
            .collect()
    }
}
