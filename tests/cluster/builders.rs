//! The other builders and the way through a registry, on a real engine.

use crate::cluster::Deployed;
use crate::shop::docker;

const SERVICE: &str = "services/subject/service.yaml";

/// The reference of the image that `build` made for the one service.
fn built(deployed: &Deployed) -> String {
    let run = deployed.run(&["build", "--images", "images.json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let text =
        std::fs::read_to_string(deployed.path().join("images.json")).expect("the images file");
    let file: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(file["version"], 2);
    file["images"]["subject"]["reference"]
        .as_str()
        .expect("a reference")
        .to_owned()
}

fn pod_image(deployed: &Deployed) -> String {
    deployed.kubectl(&[
        "get",
        "pods",
        "--output",
        "jsonpath={.items[0].spec.containers[0].image}",
    ])
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn a_dockerfile_is_built_by_the_engine_without_what_is_ignored() {
    let deployed = Deployed::faulty();
    let base = built(&deployed);
    deployed.replace(
        SERVICE,
        "{ cargo: subject }",
        "{ dockerfile: docker/Dockerfile }",
    );
    deployed.write(
        "docker/Dockerfile",
        &format!("FROM {base}\nCOPY . /context/\n"),
    );
    deployed.write("docker/.dockerignore", "*\n!kept\n");
    deployed.write("docker/kept", &deployed.namespace);
    deployed.write("docker/ignored", "1");
    let first = deployed.run(&["up"]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(first.stderr.contains("1 built"), "{}", first.stderr);
    deployed.write("docker/ignored", "2");
    let second = deployed.run(&["up"]);
    assert!(
        second.stderr.contains("0 built"),
        "an ignored file is no input: {}",
        second.stderr
    );

    deployed.write(
        "docker/Dockerfile",
        &format!("FROM {base}\nCOPY missing /\n"),
    );
    let broken = deployed.run(&["build"]);
    assert_eq!(broken.code, 1, "{}", broken.stderr);
    assert!(
        broken.stderr.contains("docker/Dockerfile:2:6"),
        "{}",
        broken.stderr
    );
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn a_program_can_make_the_image() {
    let deployed = Deployed::faulty();
    let base = built(&deployed);
    deployed.replace(
        SERVICE,
        "{ cargo: subject }",
        &format!("{{ command: [sh, -c, \"docker tag {base} $STACKCTL_IMAGE\"], inputs: [input] }}"),
    );
    deployed.write("input", &deployed.namespace);
    let first = deployed.run(&["up"]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(first.stderr.contains("1 built"), "{}", first.stderr);

    deployed.replace(SERVICE, "docker tag", "echo no-image");
    let broken = deployed.run(&["build"]);
    assert_eq!(broken.code, 1, "{}", broken.stderr);
    assert!(
        broken.stderr.contains("subject") && broken.stderr.contains("error[S04"),
        "{}",
        broken.stderr
    );
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn a_registry_is_used_where_the_environment_names_one() {
    let Ok(registry) = std::env::var("STACKCTL_TEST_REGISTRY") else {
        panic!(
            "set $STACKCTL_TEST_REGISTRY to a registry that this engine may push to and the cluster pulls from"
        );
    };
    let deployed = Deployed::faulty();
    deployed.replace(
        "environments/local.yaml",
        "cluster: local",
        &format!(
            "cluster: local\nregistry: {registry}/{}",
            deployed.namespace
        ),
    );
    // Neither the registry nor the store of this machine has it.
    deployed.edit_source();
    let missing = deployed.run(&["deploy"]);
    assert_eq!(missing.code, 2, "{}", missing.stderr);
    assert!(
        missing.stderr.contains("error[S0510]") && missing.stderr.contains("stackctl build"),
        "{}",
        missing.stderr
    );

    let first = deployed.run(&["up"]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(first.stderr.contains("1 delivered"), "{}", first.stderr);
    assert!(
        pod_image(&deployed).starts_with(&format!("{registry}/{}/subject:", deployed.namespace))
    );
    let second = deployed.run(&["up"]);
    assert!(
        second.stderr.contains("0 delivered, 1 present"),
        "{}",
        second.stderr
    );
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn a_built_image_can_be_deployed_from_its_file() {
    let deployed = Deployed::faulty();
    let reference = built(&deployed);
    let id = || docker(&["image", "inspect", "--format", "{{.Id}}", &reference]);
    let before = id();
    deployed.edit_source();
    // The image of the edited sources is there, too, and is not the one that is meant.
    let newer = deployed.run(&["build"]);
    assert_eq!(newer.code, 0, "{}", newer.stderr);
    let run = deployed.run(&["deploy", "--images", "images.json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(id(), before, "its name leads to it still");
    assert_eq!(
        pod_image(&deployed),
        reference,
        "what was built before the edit"
    );
}
