//! What follows from a declaration.

use std::collections::BTreeMap;

use super::*;

choices! {
    /// Colours.
    #[derive(Default)]
    pub enum Colour {
        /// Red.
        #[default]
        Red = "red",
        /// Blue.
        Blue = "blue",
    }
}

parameters! {
    /// A wheel.
    #[derive(Copy)]
    pub struct Wheel {
        /// Its radius.
        radius_m: f64 => read_only().unit("m").range(0.1..=2.0),
        /// Its load,
        /// at most.
        load: Option<u32> = None => runtime().range(1..=100).none_is(0.0),
    }
}

parameters! {
    /// A cart.
    pub struct Cart {
        /// Its colour.
        colour: Colour = Colour::Red => runtime(),
        /// Colours that it had.
        before: Vec<Colour> = vec![Colour::Blue] => runtime().not_empty(),
        /// The front wheel.
        front: Wheel = Wheel { radius_m: 0.5, load: Some(7) },
        /// Where it is.
        place: [f64; 3] = [0.0; 3] => runtime().range(-1.0..=1.0),
        /// Wheels besides.
        others: BTreeMap<String, Wheel> = BTreeMap::new() => keyed_by("wheel"),
    }
    checked by Cart::is_sound
}

impl Cart {
    fn is_sound(&self) -> Result<(), ParameterError> {
        match self.front.load {
            Some(load) if self.colour == Colour::Blue && load > 50 => {
                Err(ParameterError::new("front.load", "is too much for a blue cart"))
            }
            _ => Ok(()),
        }
    }
}

parameters! {
    /// A team.
    pub struct Team {
        /// The cart.
        cart: Cart = Cart::default(),
        /// The wheel that must be given.
        spare: Wheel,
    }
}

fn table() -> Table {
    Table::of::<Team>()
}

/// Defaults, with the values given.
fn values(given: &[(&str, ParameterValue)]) -> Values {
    let given = given.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    table().defaults().into_iter().chain(given).collect()
}

#[test]
fn the_table_has_dotted_names_types_defaults_and_words() {
    let table = table();
    let names: Vec<_> = table.entries().iter().map(|d| d.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "cart.colour",
            "cart.before",
            "cart.front.radius_m",
            "cart.front.load",
            "cart.place",
            "cart.others.<wheel>.radius_m",
            "cart.others.<wheel>.load",
            "spare.radius_m",
            "spare.load"
        ]
    );
    let front = table.find("cart.front.load").unwrap();
    assert_eq!(front.value_type, ParameterType::Integer);
    assert_eq!(front.default, Some(ParameterValue::Integer(7)), "the group's default goes over the field's");
    assert_eq!(front.description, "Its load, at most.");
    assert_eq!(front.constraints(), "1 to 100; 0 for none");
    assert!(!front.is_read_only());
    let spare = table.find("spare.radius_m").unwrap();
    assert_eq!((spare.default.clone(), spare.is_read_only()), (None, true));
    assert_eq!(table.find("spare.load").unwrap().default, Some(ParameterValue::Integer(0)));
    assert_eq!(table.find("cart.colour").unwrap().choices, ["red", "blue"]);
    assert_eq!(table.find("cart.others.rear.load").unwrap().name, "cart.others.rear.load");
    assert!(table.find("cart.others").is_none() && table.find("cart.others.rear.x").is_none());
    assert_eq!(table.group("cart.others.rear"), Some("Wheels besides."));
}

#[test]
fn settings_are_read_from_values_and_written_to_them() {
    let given = [
        ("spare.radius_m", ParameterValue::Double(1.0)),
        ("cart.others.rear.radius_m", ParameterValue::Double(0.3)),
        ("cart.before", ParameterValue::StringArray(vec!["red".into(), "blue".into()])),
    ];
    let values = values(&given);
    let team = Team::read(&values, "", &Spec::default()).unwrap();
    assert_eq!(team.cart.front, Wheel { radius_m: 0.5, load: Some(7) });
    assert_eq!(team.cart.before, [Colour::Red, Colour::Blue]);
    assert_eq!(team.cart.others["rear"], Wheel { radius_m: 0.3, load: None });
    assert_eq!(team.spare.load, None);
    let mut written = Values::new();
    team.write(&mut written, "", &Spec::default());
    let rear = ("cart.others.rear.load".to_owned(), ParameterValue::Integer(0));
    assert_eq!(written, values.into_iter().chain([rear]).collect());
}

#[test]
fn what_has_no_default_must_be_given() {
    let error = Team::read(&values(&[]), "", &Spec::default()).unwrap_err();
    assert_eq!(error.to_string(), "parameter spare.radius_m has no default; it must be given a value");
}

#[test]
fn settings_made_in_code_are_checked_by_the_same_table() {
    let good = Cart::default();
    assert_eq!(check(&good, "cart"), Ok(()));
    let bad = |change: fn(&mut Cart)| {
        let mut cart = good.clone();
        change(&mut cart);
        check(&cart, "cart").unwrap_err().to_string()
    };
    assert_eq!(bad(|c| c.place[1] = f64::NAN), "parameter cart.place has the element NaN; it must be -1.0 to 1.0");
    assert_eq!(bad(|c| c.front.radius_m = 3.0), "parameter cart.front.radius_m is 3.0; it must be 0.1 to 2.0");
    assert_eq!(bad(|c| c.front.load = Some(101)), "parameter cart.front.load is 101; it must be 1 to 100");
    assert_eq!(bad(|c| c.before.clear()), "parameter cart.before is empty");
    let error = bad(|c| (c.colour, c.front.load) = (Colour::Blue, Some(51)));
    assert_eq!(error, "parameter cart.front.load is too much for a blue cart");
}

#[test]
fn values_of_another_type_or_out_of_range_are_refused_with_a_reason() {
    use ParameterValue as V;
    let refuse = |name: &str, value| table().find(name).unwrap().check(&value).unwrap_err().problem;
    assert_eq!(
        refuse("cart.front.load", V::Double(1.0)),
        "is of type integer, it cannot be set to a value of type double"
    );
    assert_eq!(refuse("cart.colour", V::String("green".into())), "is `green`; it must be one of red, blue");
    assert_eq!(refuse("cart.place", V::DoubleArray(vec![0.0])), "has 1 elements; it must have 3");
    assert!(refuse("cart.front.radius_m", V::NotSet).contains("not set"));
    table().find("cart.front.load").unwrap().check(&V::Integer(0)).unwrap();
}

#[test]
fn the_nearest_name_is_found_and_far_ones_are_not() {
    let table = table();
    assert_eq!(table.nearest("cart.color"), Some("cart.colour"));
    assert_eq!(table.nearest("cart.font.load"), Some("cart.front.load"));
    assert_eq!(table.nearest("colour"), Some("cart.colour"), "right name, wrong group");
    assert_eq!(table.nearest("something.else.altogether"), None);
}

#[test]
fn values_print_as_yaml() {
    use ParameterValue as V;
    for (value, text) in [
        (V::Double(1.0), "1.0"),
        (V::Double(f64::NEG_INFINITY), "-.inf"),
        (V::String("/a/b".into()), "/a/b"),
        (V::String("yes".into()), "\"yes\""),
        (V::String("1.5".into()), "\"1.5\""),
        (V::String("a\"\n".into()), "\"a\\\"\\U0000000A\""),
        (V::StringArray(vec!["a".into(), String::new()]), "[a, \"\"]"),
        (V::DoubleArray(vec![]), "[]"),
    ] {
        assert_eq!(value.to_string(), text);
    }
}
