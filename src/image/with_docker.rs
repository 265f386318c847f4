//! `--builder docker`: layers are made here, and the Docker engine puts them together.

use std::collections::BTreeMap;

use oci_image::{Decompressor, Descriptor, Layout, LayoutError, StoredImage};

use crate::event::{Phase, TaskOutcome};
use crate::stack::ServiceName;
use crate::timings::Step;

use super::background::blocking;
use super::build::Session;
use super::build_error::BuildError;
use super::docker::engine::Engine;
use super::docker::{Assembly, LayerSource, assemble_with_engine};
use super::progress::Task;
use super::report::{BuildReport, Held};
use super::spec::ImageSpec;
use super::target::host_platform;

/// No layer of ours is longer; it only bounds what a damaged store can cost.
const LONGEST_LAYER: u64 = 1 << 40;

/// Has the engine assemble every image of the store that it lacks; `report` then says where they are.
pub(crate) async fn assemble(
    session: &Session<'_>,
    specs: &BTreeMap<ServiceName, ImageSpec>,
    report: &mut BuildReport,
) -> Result<(), BuildError> {
    let engine = session.context.engine.ok_or(BuildError::NoEngine)?;
    for (service, image) in &mut report.images {
        let Held::Store(descriptor) = &image.held else {
            continue;
        };
        let reference = &specs[service].reference;
        let found = engine.image_id(reference).await;
        let found = found.map_err(BuildError::engine(format!("look for {reference}")))?;
        let id = match found {
            Some(id) => id,
            None => tokio::select! {
                id = with_engine(session, engine, service, descriptor, reference) => id?,
                () = session.context.cancel.cancelled() => return Err(BuildError::Interrupted),
            },
        };
        image.held = Held::Engine(id);
    }
    Ok(())
}

async fn with_engine(
    session: &Session<'_>,
    engine: &Engine,
    service: &ServiceName,
    descriptor: &Descriptor,
    reference: &str,
) -> Result<String, BuildError> {
    let _assembling = session.context.timings.span(service.as_str(), Step::Build);
    let task = Task::start(session.context.events, Phase::Build, service.as_str());
    let layout = session.context.store.layout().clone();
    let stored = layout.image(descriptor, &host_platform());
    let stored = stored.map_err(|error| match error {
        LayoutError::Platform {
            wanted, available, ..
        } => BuildError::OtherPlatform {
            service: service.clone(),
            wanted,
            available,
        },
        error => error.into(),
    })?;
    let assembly = blocking(move || assembly(&layout, stored)).await?;
    let id = assemble_with_engine(engine, assembly, reference, &|step| task.progress(step)).await?;
    task.finish(TaskOutcome::Done, "assembled by the engine");
    Ok(id)
}

fn assembly(layout: &Layout, image: StoredImage) -> Result<Assembly, BuildError> {
    let mut layers = Vec::new();
    for layer in &image.manifest.layers {
        let unreadable = |error| layout.read_error(layer, error);
        let open = || -> Result<_, BuildError> {
            let blob = layout.reader(layer)?;
            Ok(Decompressor::new(blob, LONGEST_LAYER).map_err(unreadable)?)
        };
        // The length stands before the content, so it is read twice.
        let (size, _) = open()?.drain().map_err(unreadable)?;
        layers.push(LayerSource {
            size,
            tar: Box::new(open()?),
        });
    }
    Ok(Assembly {
        layers,
        run: image.config.run,
    })
}
