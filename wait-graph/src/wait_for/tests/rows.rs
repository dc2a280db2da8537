//! What is removed leaves its place to the next.

use super::shapes::Shape;

#[test]
fn a_place_is_given_again() {
    let mut shape = Shape::default();
    let (resource, task) = (shape.resource(1), shape.task());
    let wait = shape.call(task, task);
    shape.picture.remove_wait(wait);
    shape.picture.remove_task(task);
    shape.picture.remove_resource(resource);
    assert_eq!((shape.resource(1), shape.task()), (resource, task));
    assert_eq!(shape.call(task, task), wait);
}
