//! How the desk reaches people: its settings as a notifier.

use std::{
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use q_core::Env;
use q_notify::{NotUsable, Notifier, Secret, SmtpSettings};
use q_runtime::Settings;

/// The file with the secret that signs webhooks; receivers are given its content.
pub const WEBHOOK_SECRET_FILE: &str = "ops.webhook";

/// The notifier of these settings. The secret that signs webhooks is made when it is not there.
pub(crate) fn notifier(settings: &Settings, keys: &Path, env: &Env) -> Result<Notifier, NotUsable> {
    notifier_with(settings, secret(&keys.join(WEBHOOK_SECRET_FILE), env)?, env)
}

/// The notifier of these settings, with this secret.
pub(crate) fn notifier_with(settings: &Settings, secret: Secret, env: &Env) -> Result<Notifier, NotUsable> {
    let smtp = settings.optional("smtp").map(|url| SmtpSettings {
        url: url.to_owned(),
        from: settings.text("smtp_from").to_owned(),
        password_file: settings.optional("smtp_password_file").map(Into::into),
        ca_file: settings.optional("smtp_ca_file").map(Into::into),
    });
    Notifier::new(env.clone(), Some(secret), smtp.as_ref())
}

fn secret(path: &Path, env: &Env) -> Result<Secret, NotUsable> {
    let unusable = |error: &dyn std::fmt::Display| NotUsable(format!("{}: {error}", path.display()));
    match std::fs::read_to_string(path) {
        Ok(text) => text.parse().map_err(|error| unusable(&error)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let secret = Secret::generate(env);
            let write = || -> std::io::Result<()> {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                let mut file =
                    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
                writeln!(file, "{}", &*secret.text())?;
                file.sync_all()
            };
            write().map_err(|error| unusable(&error))?;
            Ok(secret)
        }
        Err(error) => Err(unusable(&error)),
    }
}
