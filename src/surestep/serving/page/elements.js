// Building elements. All text becomes text nodes: nothing that a person or a server wrote is ever read as HTML.

/** An element with attributes; `on` holds its listeners; children are elements or texts. */
export function make(tag, { on = {}, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, listener);
  element.append(...children);
  return element;
}

/** A button with a short text; `label` is its full name for screen readers and the tooltip. */
export function button(text, action, { label, ...attributes } = {}) {
  return make(
    "button",
    { type: "button", "aria-label": label, title: label, on: { click: action }, ...attributes },
    text,
  );
}

const GROWS_BY_ITSELF = CSS.supports("field-sizing", "content");

/** Makes a text area as high as its text, where the browser does not do so by itself. */
export function grow(area) {
  if (GROWS_BY_ITSELF) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}

let lastId = 0;

/** An id that no other element of the page has. */
export function newId(prefix) {
  lastId += 1;
  return `${prefix}-${lastId}`;
}
