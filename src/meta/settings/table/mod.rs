//! The tables of all settings, one file per subject.

mod cluster;
mod groups;
mod kataract;
mod log;
mod network;
mod other;
mod topic;

pub(super) use topic::{GROUP, TOPIC};

use super::Setting;

/// All broker settings, table by table.
pub(super) static BROKER: [&[Setting]; 11] = [
    network::NETWORK,
    log::LOG,
    log::CLEANER,
    cluster::REPLICATION,
    cluster::KRAFT,
    groups::GROUPS,
    groups::SHARE,
    groups::TRANSACTIONS,
    other::QUOTAS,
    other::SECURITY,
    kataract::KATARACT,
];

/// Rows of `"name" Kind default allowed Update honoured [(broker synonym, its unit)] "doc";`.
macro_rules! settings {
    (@default null) => { None };
    (@default $text:literal) => { Some($text) };
    (@honoured yes) => { true };
    (@honoured no) => { false };
    ($table:ident, $about:literal;
     $($name:literal $kind:ident $default:tt $allowed:tt $update:ident $honoured:tt [$($synonym:expr),*] $doc:literal;)*
    ) => {
        #[doc = $about]
        #[allow(unused_imports, unused_parens, reason = "not every table uses every word of the row language")]
        pub(in crate::meta::settings) static $table: &[$crate::meta::settings::Setting] = {
            use $crate::meta::settings::{Allowed::*, Kind, Setting, Unit::*, Update};
            &[$(Setting {
                name: $name,
                kind: Kind::$kind,
                default: settings!(@default $default),
                allowed: $allowed,
                update: Update::$update,
                honoured: settings!(@honoured $honoured),
                synonyms: &[$($synonym),*],
                doc: $doc,
            }),*]
        };
    };
}
use settings;
