//! Declarations: [`parameters!`] for settings, [`choices!`] for names to choose from.

/// Declares settings; see the [module's description](super).
///
/// A field is `name: Type = default => spec`. Without a default a value must be given; without a spec the field is a
/// group. `checked by` names a function `fn(&Self) -> Result<(), ParameterError>` that sees whether values fit together;
/// the names in its errors count from this struct.
macro_rules! parameters {
    // Every field has a default, so the struct has.
    (
        $(#[$attribute:meta])*
        pub struct $name:ident {
            $($(#[doc = $doc:literal])* $field:ident: $type:ty = $default:expr $(=> $spec:expr)?),* $(,)?
        }
        $(checked by $check:path)?
    ) => {
        $crate::config::parameter::parameters! {
            @declare $(#[$attribute])* $name { $([$($doc)*] $field [$type] [$default] [$($spec)?])* } [$($check)?]
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default),* }
            }
        }
    };
    (
        $(#[$attribute:meta])*
        pub struct $name:ident {
            $($(#[doc = $doc:literal])* $field:ident: $type:ty $(= $default:expr)? $(=> $spec:expr)?),* $(,)?
        }
        $(checked by $check:path)?
    ) => {
        $crate::config::parameter::parameters! {
            @declare $(#[$attribute])* $name { $([$($doc)*] $field [$type] [$($default)?] [$($spec)?])* } [$($check)?]
        }
    };
    (
        @declare $(#[$attribute:meta])* $name:ident {
            $([$($doc:literal)*] $field:ident [$type:ty] [$($default:expr)?] [$($spec:expr)?])*
        } [$($check:path)?]
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[doc = $doc])* pub $field: $type,)*
        }

        impl $crate::config::parameter::Parameter for $name {
            fn declare(
                table: &mut $crate::config::parameter::Table,
                place: $crate::config::parameter::Place<'_>,
                default: Option<&Self>,
            ) {
                table.add_group(place.name, place.description);
                $({
                    let name = $crate::config::parameter::join(place.name, stringify!($field));
                    let spec = $crate::config::parameter::parameters!(@spec $($spec)?);
                    let place = $crate::config::parameter::Place { name: &name, description: concat!($($doc),*), spec };
                    let own: Option<$type> = $crate::config::parameter::parameters!(@default $($default)?);
                    let default = default.map(|settings| settings.$field.clone()).or(own);
                    <$type as $crate::config::parameter::Parameter>::declare(table, place, default.as_ref());
                })*
            }

            fn read(
                values: &$crate::config::parameter::Values,
                name: &str,
                _spec: &$crate::config::parameter::Spec,
            ) -> Result<Self, $crate::config::parameter::ParameterError> {
                Ok(Self {
                    $($field: $crate::config::parameter::Parameter::read(
                        values,
                        &$crate::config::parameter::join(name, stringify!($field)),
                        &$crate::config::parameter::parameters!(@spec $($spec)?),
                    )?,)*
                })
            }

            fn write(
                &self,
                values: &mut $crate::config::parameter::Values,
                name: &str,
                _spec: &$crate::config::parameter::Spec,
            ) {
                $($crate::config::parameter::Parameter::write(
                    &self.$field,
                    values,
                    &$crate::config::parameter::join(name, stringify!($field)),
                    &$crate::config::parameter::parameters!(@spec $($spec)?),
                );)*
            }

            fn check(
                &self,
                name: &str,
                _spec: &$crate::config::parameter::Spec,
            ) -> Result<(), $crate::config::parameter::ParameterError> {
                $($crate::config::parameter::Parameter::check(
                    &self.$field,
                    &$crate::config::parameter::join(name, stringify!($field)),
                    &$crate::config::parameter::parameters!(@spec $($spec)?),
                )?;)*
                $($check(self).map_err(|error| error.within(name))?;)?
                Ok(())
            }
        }
    };
    (@spec) => { $crate::config::parameter::Spec::default() };
    (@spec $spec:expr) => { $spec };
    (@default) => { None };
    (@default $default:expr) => { Some($default) };
}

/// Declares an enum whose values have names in the configuration: `Variant = "name"`.
macro_rules! choices {
    (
        $(#[$attribute:meta])*
        pub enum $name:ident { $($(#[$of_variant:meta])* $variant:ident = $text:literal),+ $(,)? }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$of_variant])* #[serde(rename = $text)] $variant,)+
        }

        impl $crate::config::parameter::Choice for $name {
            const ALL: &'static [(&'static str, Self)] = &[$(($text, Self::$variant)),+];
        }
    };
}

pub(crate) use {choices, parameters};
