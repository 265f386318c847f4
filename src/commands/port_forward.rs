//! `stackctl port-forward`: every declared port, until Ctrl-C.

use crate::forward;
use crate::settings::Place;

use super::connect::connect;
use super::{CommandError, Env, Outcome};

/// Forwards the ports of the chosen services.
pub async fn port_forward(place: &Place, env: &Env) -> Result<Outcome, CommandError> {
    let stack = place.load()?;
    let cluster = connect(&stack, place, env).await?;
    let forwards = forward::declared(&stack, &place.services);
    forward::serve(
        cluster.client.clone(),
        forwards,
        env.events.as_ref(),
        env.cancel.clone(),
    )
    .await?;
    Ok(Outcome::Ended)
}
