//! Deploys that cannot become ready: exit code 5, the cause, the pod, and the last log lines or the event.

use std::time::Duration;

use crate::cluster::Deployed;

const SERVICE: &str = "services/subject/service.yaml";

/// What each failure must say, and how long it may take to say it after the images are built.
fn explained(deployed: &Deployed, words: &[&str], within: Duration) {
    let built = deployed.run(&["build"]);
    assert_eq!(built.code, 0, "{}", built.stderr);
    let run = deployed.run(&["deploy"]);
    assert_eq!(run.code, 5, "{}", run.stderr);
    for word in ["error[S08", "Deployment/subject", "Pod/subject-"]
        .iter()
        .chain(words)
    {
        assert!(
            run.stderr.contains(word),
            "{word:?} is missing in\n{}",
            run.stderr
        );
    }
    assert!(
        run.elapsed < within,
        "{:?} for\n{}",
        run.elapsed,
        run.stderr
    );
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn an_image_that_does_not_exist() {
    let deployed = Deployed::faulty();
    deployed.replace(
        SERVICE,
        "{ cargo: subject }",
        "{ image: \"127.0.0.1:5000/nobody/nothing:1\" }",
    );
    explained(
        &deployed,
        &["nobody/nothing:1", "container subject"],
        Duration::from_secs(20),
    );
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn a_container_that_crashes() {
    let deployed = Deployed::faulty();
    deployed.replace(SERVICE, "MODE: serve", "MODE: crash");
    explained(
        &deployed,
        &["exit code 101", "cannot open the flux capacitor"],
        Duration::from_secs(30),
    );
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn a_probe_that_does_not_pass() {
    let deployed = Deployed::faulty();
    deployed.replace(SERVICE, "MODE: serve", "MODE: unready");
    explained(&deployed, &["/ready", "503"], Duration::from_secs(45));
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn a_pod_that_fits_nowhere() {
    let deployed = Deployed::faulty();
    deployed.replace(
        SERVICE,
        "readyWithin",
        "resources: { requests: { cpu: \"999\" } }\nreadyWithin",
    );
    explained(&deployed, &["Insufficient cpu"], Duration::from_secs(20));
}
