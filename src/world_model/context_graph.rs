//! The graph that makes a context of single latents where they are: in the execution provider's memory.

use ort::editor::{Graph, Model, Node, ONNX_DOMAIN, Opset};
use ort::operator::Attribute;
use ort::value::{Outlet, Shape, SymbolicDimensions, TensorElementType, ValueType};

/// Name of the graph's output.
pub(super) const CONTEXT: &str = "context";
/// The last operator set in which `Unsqueeze` has its axes as an attribute.
const OPSET: u32 = 12;

/// Name of the input for frame `t`, oldest first.
pub(super) fn input(t: usize) -> String {
    format!("latent_{t}")
}

/// `frames` inputs [1,N,D] → [`CONTEXT`] [1,T,N,D].
///
/// # Errors
/// What ONNX Runtime's model editor says.
pub(super) fn context_graph(frames: usize, tokens: i64, latent_dim: i64) -> ort::Result<Model> {
    let tensor = |shape: &[i64]| ValueType::Tensor {
        ty: TensorElementType::Float32,
        shape: Shape::new(shape.iter().copied()),
        dimension_symbols: SymbolicDimensions::empty(shape.len()),
    };
    let count = i64::try_from(frames).unwrap_or(i64::MAX);
    let (mut graph, mut rows) = (Graph::new()?, Vec::with_capacity(frames));
    graph.set_inputs((0..frames).map(|t| Outlet::new(input(t), tensor(&[1, tokens, latent_dim]))))?;
    graph.set_outputs([Outlet::new(CONTEXT, tensor(&[1, count, tokens, latent_dim]))])?;
    for t in 0..frames {
        let row = format!("row_{t}");
        let axes = Attribute::new("axes", vec![1_i64])?;
        graph.add_node(Node::new("Unsqueeze", ONNX_DOMAIN, &row, [input(t)], [&row], [axes])?)?;
        rows.push(row);
    }
    graph.add_node(Node::new("Concat", ONNX_DOMAIN, "join", &rows, [CONTEXT], [Attribute::new("axis", 1_i64)?])?)?;
    let mut model = Model::new([Opset::new(ONNX_DOMAIN, OPSET)?])?;
    model.set_graph(graph)?;
    Ok(model)
}
