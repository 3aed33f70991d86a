// A clock that tests can set back or forward. It must be imported first, so that every library uses it.
const RealDate = Date;
let offset = 0;

export function setClock(seconds) {
  offset = seconds * 1000;
}

globalThis.Date = class Date extends RealDate {
  constructor(...parts) {
    if (parts.length === 0) super(RealDate.now() + offset);
    else super(...parts);
  }
  static now() {
    return RealDate.now() + offset;
  }
};
