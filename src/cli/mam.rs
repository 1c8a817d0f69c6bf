//! `--source mam`: which archives the node is asked for, and by whom.

use super::Failure;
use super::connect;
use super::history::{Errand, Job, failure, secret, simple_runtime};
use super::history_args::MamArgs;
use crate::component::ask::Asker;
use crate::config::SecretSource;
use crate::history::mam::{self, Mam};

/// Runs the command.
pub(super) fn execute<E: Errand>(job: &Job<'_, E>, args: &MamArgs) -> Result<E::Told, Failure> {
    let asks = !args.room.is_empty() || !args.account.is_empty() || args.all_rooms || args.all_accounts;
    if !asks {
        return Err(Failure::Usage("say whose archives: --room, --account, --all-rooms or --all-accounts".to_owned()));
    }
    let mut settings = crate::run::settings(job.node).map_err(|error| Failure::Usage(error.to_string()))?;
    match (&args.component, &args.secret_file) {
        (Some(component), Some(file)) => {
            settings.domain =
                crate::config::domain::normalise(component).map_err(|error| Failure::Usage(format!("--component {error}")))?;
            settings.secret = secret("--secret-file", &SecretSource::File(file.clone()))?.into();
        }
        _ => job.require_nobody_attached()?,
    }
    // Asked and read on one connection: a second one might get a part of the answers while the node still knows the first.
    let runtime = simple_runtime()?;
    let (asker, archives, troubles) = runtime.block_on(async {
        let mut asker = Asker::open(&settings).await.map_err(|error| Failure::Runtime(error.advice(&settings)))?;
        let (archives, troubles) = archives(job, args, &mut asker).await?;
        Ok::<_, Failure>((asker, archives, troubles))
    })?;
    let is_partial = !(args.all_rooms && args.all_accounts);
    let what = format!("mam {} {}", settings.domain, archives.join(" "));
    job.run_on(&runtime, &what, async |wide, position| Mam::new(asker, archives, is_partial, troubles, wide, position))
}

/// Whose archives are asked for, and what there may be beside them, in words.
async fn archives<E: Errand>(job: &Job<'_, E>, args: &MamArgs, asker: &mut Asker) -> Result<(Vec<String>, Vec<String>), Failure> {
    let mut troubles = Vec::new();
    let mut all: Vec<String> = args.room.iter().chain(&args.account).map(ToString::to_string).collect();
    if args.all_rooms {
        for service in &job.node.muc {
            match mam::rooms(asker, service).await {
                Ok(rooms) => all.extend(rooms),
                // Those that the archive knows are asked for all the same.
                Err(error) => troubles.push(error.to_string()),
            }
        }
        all.extend(known_rooms(job).await?);
    }
    if args.all_accounts {
        for host in &job.node.hosts {
            all.extend(mam::accounts(asker, host).await.map_err(failure)?);
        }
    }
    all.sort();
    all.dedup();
    Ok((all, troubles))
}

/// The node's rooms that the archive has seen: a service tells only of public ones, and of so many.
async fn known_rooms<E: Errand>(job: &Job<'_, E>) -> Result<Vec<String>, Failure> {
    let store = job.store;
    let mut connection = connect::open(store).await?;
    let rooms = crate::store::rooms::names(&mut connection).await.map_err(|error| connect::failure(store, &error))?;
    Ok(rooms.into_iter().filter(|room| job.is_room(room)).collect())
}
