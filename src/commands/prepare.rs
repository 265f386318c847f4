//! What every command that knows the stack's objects starts with: files → checked objects. No cluster.

use std::collections::BTreeMap;

use crate::diagnostic::Problems;
use crate::event::Event;
use crate::image::{self, ImageSpec};
use crate::manifest::{self, Object};
use crate::settings::Place;
use crate::stack::{ServiceName, Stack};
use crate::template;

use super::{CommandError, Env};

/// A stack and what it shall be in the cluster.
pub(super) struct Desired {
    /// The model.
    pub(super) stack: Stack,
    /// The image of every service.
    pub(super) images: BTreeMap<ServiceName, ImageSpec>,
    /// Every object of every service, checked.
    pub(super) objects: Vec<Object>,
}

/// Loads, renders and checks everything; `-s` narrows nothing here, so that mistakes anywhere are found.
pub(super) fn desired(place: &Place, env: &Env) -> Result<Desired, CommandError> {
    let stack = place.load()?;
    let templates = template::load(&stack)?;
    let images = image::specs(&stack)?;
    let references = images.iter().map(|(service, spec)| (service.clone(), spec.reference.clone())).collect();
    let objects = objects(&stack, &templates, &references, env)?;
    Ok(Desired { stack, images, objects })
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
    /// The objects of the services that a command works on.
    pub(super) fn chosen(&self, place: &Place) -> Vec<Object> {
        let chosen = |object: &&Object| object.service.as_ref().is_none_or(|service| place.includes(service));
        self.objects.iter().filter(chosen).cloned().collect()
    }

    /// The images of the services that a command works on.
    pub(super) fn chosen_images(&self, place: &Place) -> BTreeMap<ServiceName, ImageSpec> {
        let chosen = self.images.iter().filter(|(service, _)| place.includes(service));
        chosen.map(|(service, spec)| (service.clone(), spec.clone())).collect()
    }
}
