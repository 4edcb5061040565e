// Package run is the vocabulary of a run: what is asked for, what a run is while it
// goes on and when it has ended, what becomes of its products, and what it expects
// of the ledger that remembers it. Nothing here acts.
package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/text"
)

// Mode is a way to repair.
type Mode string

// The ways to repair.
const (
	Replay Mode = "replay" // publish events for the cart's consumer
	Direct Mode = "direct" // write the cart's rows
)

// Bounds of SYNC_BATCH_SIZE, those of the service that this one replaces.
const (
	MinBatchSize = 1
	MaxBatchSize = 1000
)

// MaxWindow is the largest number of products that are confirmed, repaired and
// proved together.
const MaxWindow = 10_000

// Order is what a caller may ask of a run.
type Order struct {
	Mode       Mode         `json:"mode,omitempty"`      // replay where it is empty
	DryRun     bool         `json:"dryRun,omitempty"`    // find and report only
	BatchSize  int          `json:"batchSize,omitempty"` // 1..1000; 0 is SYNC_BATCH_SIZE
	Repair     Kinds        `json:"repair,omitempty"`    // missing where it is empty
	IDs        []product.ID `json:"ids,omitempty"`       // these products only, at most MaxIDs
	Since      Moment       `json:"since,omitzero"`      // products created since then only
	MaxRepairs int          `json:"maxRepairs,omitempty"`
	// MaxDeletes is the largest number of rows to delete; 0 is SYNC_MAX_DELETES.
	MaxDeletes int      `json:"maxDeletes,omitempty"`
	Fallback   Fallback `json:"fallback,omitempty"` // none where it is empty
	Reason     string   `json:"reason,omitempty"`   // a person's words, at most MaxReason bytes
}

// Request asks for a run. One document serves HTTP, the scheduler, the command
// line and whoever publishes to the exchange etl.
type Request struct {
	Version int `json:"version"` // 1..RequestVersion
	// ID is the run's id, a UUID; requests of one id are one run. Decode makes one
	// where it is absent.
	ID      string  `json:"id,omitempty"`
	Trigger Trigger `json:"trigger,omitempty"` // message where it is empty
	// By is who asked, as the trigger knows it.
	By string    `json:"requestedBy,omitempty"`
	At time.Time `json:"requestedAt,omitzero"`
	// Expires is when a run that has not begun by then is not wanted any more.
	Expires time.Time `json:"expiresAt,omitzero"`
	// Key is what several requests for one occasion have in common, such as the
	// scheduled instant of a tick: only the first becomes a run.
	Key string `json:"key,omitempty"`
	// Apply is the dry run whose findings are to be repaired; IDs are then ignored.
	Apply string `json:"apply,omitempty"`
	// Pipeline is whose run it is to be; empty is that of whoever takes the request.
	Pipeline string `json:"pipeline,omitempty"`
	// Recorded says that the ledger has the run already, so that a request whose
	// run is not there any more is dropped.
	Recorded bool `json:"recorded,omitempty"`
	Order
}

// RequestVersion is the latest version of the request document that this code reads. A
// field that is new makes a new version, and no field ever changes its type: so a program
// that does not know the field leaves the run to one that does, and can still show it.
// What does without the new fields is written in the version before.
const RequestVersion = 1

// Bounds of a request.
const (
	MaxIDs    = MaxWindow
	MaxReason = 500
	maxText   = 200
	maxID     = 3000 // bytes of one product's id
	maxShown  = 60   // bytes of what is wrong, in the message about it

	// maxProblems ends the reading of a document that is something else altogether.
	maxProblems = 20
)

// Fallback is what is done with products that a replay loses in the end.
type Fallback string

// The fallbacks.
const (
	NoFallback     Fallback = "none"
	DirectFallback Fallback = "direct"
)

// Trigger is where a request came from.
type Trigger string

// The triggers.
const (
	ByHTTP     Trigger = "http"
	BySchedule Trigger = "schedule"
	ByCLI      Trigger = "cli"
	ByMessage  Trigger = "message"
	ByDetector Trigger = "detector"
)

// Triggers lists all of them.
func Triggers() []Trigger { return []Trigger{ByHTTP, BySchedule, ByCLI, ByMessage, ByDetector} }

// Moment is a point in time. In a document it is RFC 3339, or a duration such as
// "2h" that counts back from now.
type Moment struct{ time.Time }

// UnmarshalJSON reads either form.
func (m *Moment) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return errMoment
	}
	if text == "" {
		m.Time = time.Time{}
		return nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		if ago <= 0 {
			return errMoment
		}
		m.Time = time.Now().Add(-ago).UTC().Truncate(time.Millisecond)
		return nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return errMoment
	}
	m.Time = t
	return nil
}

var errMoment = errors.New(`must be a time such as "2026-11-22T10:00:00Z" or a duration above 0 such as "2h"`)

// FieldError says what is wrong with one field of a request. Field is empty where
// the document as a whole cannot be read.
type FieldError struct {
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
}

// InvalidError says everything that is wrong with a request.
type InvalidError struct{ Fields []FieldError }

func (e *InvalidError) Error() string {
	texts := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		texts[i] = strings.TrimPrefix(f.Field+" ", " ") + f.Message
	}
	return "invalid sync request: " + strings.Join(texts, "; ")
}

func (e *InvalidError) add(field, format string, args ...any) {
	e.Fields = append(e.Fields, FieldError{field, fmt.Sprintf(format, args...)})
}

func (e *InvalidError) checkText(field, value string, most int) {
	if len(value) > most || !text.Storable(value) {
		e.add(field, "must be valid UTF-8 without NUL, at most %d bytes", most)
	}
}

// checkUUID makes id the one spelling that two ids are compared in.
func (e *InvalidError) checkUUID(field string, id *string) {
	*id = strings.ToLower(*id)
	if *id != "" && (uuid.Validate(*id) != nil || len(*id) != 36) {
		e.add(field, "must be a UUID")
	}
}

// checkTime turns t into UTC: a zone can be read that cannot be written.
func (e *InvalidError) checkTime(field string, t *time.Time) {
	if t.IsZero() {
		return
	}
	*t = t.UTC()
	if t.Year() < 1970 || t.Year() > 9999 {
		e.add(field, "must be between 1970 and 9999")
	}
}

func (e *InvalidError) orNil() error {
	if len(e.Fields) == 0 {
		return nil
	}
	return e
}

// DecodeOrder reads what a caller asks for, with its defaults filled in. An empty
// document asks for the defaults. Unknown fields, wrong types and values out of
// bounds are an *InvalidError that names each of them. Callers of the former service may
// name pipelines; others than that of products are a *ForeignError.
func DecodeOrder(document []byte) (Order, error) {
	var o Order
	var asked pipelines
	invalid := &InvalidError{}
	if len(bytes.TrimSpace(document)) > 0 {
		readers := o.readers()
		readers["pipelines"] = &asked
		decode(document, readers, invalid)
	}
	if foreign := asked.foreign(); len(foreign) > 0 {
		return o, &ForeignError{foreign}
	}
	o.check(invalid)
	return o, invalid.orNil()
}

// DecodeRequest reads a whole request, as a message carries it, likewise. One that only a
// newer program can read is a *NewerError, beside what can be told of it.
func DecodeRequest(document []byte) (Request, error) {
	r := Request{}
	invalid := &InvalidError{}
	readers := r.readers()
	for name, into := range map[string]any{
		"version": &r.Version, "id": &r.ID, "trigger": &r.Trigger, "requestedBy": &r.By, "requestedAt": &r.At,
		"expiresAt": &r.Expires, "key": &r.Key, "apply": &r.Apply, "pipeline": &r.Pipeline, "recorded": &r.Recorded,
	} {
		readers[name] = into
	}
	decode(document, readers, invalid)
	r.check(invalid)
	if newer := newer(r.Version, invalid); newer != nil {
		if r.Version > RequestVersion {
			r = r.plain()
		}
		return r, newer
	}
	return r, invalid.orNil()
}

func (o *Order) readers() map[string]any {
	return map[string]any{
		"mode": &o.Mode, "dryRun": &o.DryRun, "batchSize": (*limit)(&o.BatchSize), "repair": &o.Repair, "ids": &o.IDs,
		"since": &o.Since, "maxRepairs": (*limit)(&o.MaxRepairs), "maxDeletes": (*limit)(&o.MaxDeletes), "fallback": &o.Fallback, "reason": &o.Reason,
	}
}

// decode reads a JSON object member by member, so that each wrong one is named.
func decode(document []byte, readers map[string]any, invalid *InvalidError) {
	for mark, name := range byteOrderMarks {
		if bytes.HasPrefix(document, []byte(mark)) {
			invalid.add("", "begins with the byte order mark of %s: send plain UTF-8", name)
			return
		}
	}
	if !utf8.Valid(document) { // which the decoder would replace, in ids too
		invalid.add("", "is not valid UTF-8")
		return
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		invalid.add("", "must be a JSON object")
		return
	}
	seen := make(map[string]bool)
	for decoder.More() {
		if len(invalid.Fields) == maxProblems {
			return
		}
		token, err := decoder.Token()
		name, _ := token.(string) // the name of a member is nothing else
		var value json.RawMessage
		if err == nil {
			err = decoder.Decode(&value)
		}
		if err != nil {
			invalid.add("", "is no valid JSON")
			return
		}
		into, known := readers[name]
		switch {
		case !known:
			invalid.add(text.Cut(name, maxShown), unknownField)
		case seen[name]:
			invalid.add(name, "is given twice")
		default:
			seen[name] = true
			if err := readValue(value, into); errors.Is(err, errMoment) || errors.Is(err, errKinds) || errors.Is(err, errPipelines) {
				invalid.add(name, "%s", err)
			} else if err != nil {
				invalid.add(name, "must be %s", expected(into))
			}
		}
	}
	if _, err := decoder.Token(); err != nil {
		invalid.add("", "is no valid JSON")
		return
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		invalid.add("", "must be one JSON object and nothing behind it")
	}
}

// byteOrderMarks are what editors put in front of a text.
var byteOrderMarks = map[string]string{"\xef\xbb\xbf": "UTF-8", "\xfe\xff": "UTF-16", "\xff\xfe": "UTF-16"}

func expected(into any) string {
	switch into.(type) {
	case *bool:
		return "true or false"
	case *int, *limit:
		return "a whole number"
	case *[]product.ID:
		return "a list of product ids as texts"
	case *time.Time:
		return `a time such as "2026-11-22T10:00:00Z"`
	}
	return "a text"
}

// CheckBatchSize reports a batch size that is out of bounds.
func CheckBatchSize(n int) error {
	if n < MinBatchSize || n > MaxBatchSize {
		return fmt.Errorf("%d is out of bounds, a batch has %d..%d products", n, MinBatchSize, MaxBatchSize)
	}
	return nil
}

// Check fills in the defaults and reports what is wrong, as an *InvalidError.
func (o *Order) Check() error {
	invalid := &InvalidError{}
	o.check(invalid)
	return invalid.orNil()
}

func (o *Order) check(invalid *InvalidError) {
	setDefault(&o.Mode, Replay)
	if len(o.Repair) == 0 {
		o.Repair = Kinds{product.Missing}
	}
	setDefault(&o.Fallback, NoFallback)
	if o.Mode != Replay && o.Mode != Direct {
		invalid.add("mode", "must be replay or direct")
	}
	if o.BatchSize != 0 {
		if err := CheckBatchSize(o.BatchSize); err != nil {
			invalid.add("batchSize", "must be %d..%d", MinBatchSize, MaxBatchSize)
		}
	}
	switch {
	case o.Fallback != NoFallback && o.Fallback != DirectFallback:
		invalid.add("fallback", "must be none or direct")
	case o.Fallback == DirectFallback && o.Mode == Direct:
		invalid.add("fallback", "goes with mode replay only")
	}
	if o.MaxDeletes < 0 {
		invalid.add("maxDeletes", "must be at least 1; without it SYNC_MAX_DELETES counts")
	}
	if o.MaxRepairs < 0 {
		invalid.add("maxRepairs", "must be at least 1; without it no number is set")
	}
	o.checkIDs(invalid)
	if !o.Since.IsZero() && len(o.IDs) > 0 {
		invalid.add("since", "and ids exclude each other")
	}
	invalid.checkTime("since", &o.Since.Time)
	invalid.checkText("reason", o.Reason, MaxReason)
}

func (o *Order) checkIDs(invalid *InvalidError) {
	if len(o.IDs) > MaxIDs {
		invalid.add("ids", "names %d products, at most %d are looked at by id", len(o.IDs), MaxIDs)
		return
	}
	seen := make(map[product.ID]bool, len(o.IDs))
	once := o.IDs[:0]
	for _, id := range o.IDs {
		switch {
		case id == "":
			invalid.add("ids", "contains an empty id")
			return
		case len(id) > maxID || !text.Storable(string(id)):
			invalid.add("ids", "contains an id that is too long, not valid UTF-8 or has a NUL: %s", text.Word(string(id), maxShown))
			return
		case !seen[id]:
			seen[id] = true
			once = append(once, id)
		}
	}
	o.IDs = once
}

// Check fills in the defaults, the id and the time of a request among them, and
// reports what is wrong, as an *InvalidError.
func (r *Request) Check() error {
	invalid := &InvalidError{}
	r.check(invalid)
	return invalid.orNil()
}

func (r *Request) check(invalid *InvalidError) {
	setDefault(&r.Trigger, ByMessage)
	if r.Version < 1 || r.Version > RequestVersion {
		invalid.add("version", "must be %d", RequestVersion)
	}
	if r.ID == "" {
		if r.Recorded {
			invalid.add("id", "must be given where recorded is true")
		}
		r.ID = NewRunID()
	}
	invalid.checkUUID("id", &r.ID)
	invalid.checkUUID("apply", &r.Apply)
	switch r.Trigger {
	case ByHTTP, BySchedule, ByCLI, ByMessage, ByDetector:
	default:
		invalid.add("trigger", "must be one of %v", Triggers())
	}
	invalid.checkText("requestedBy", r.By, maxText)
	invalid.checkText("key", r.Key, maxText)
	invalid.checkText("pipeline", r.Pipeline, maxText)
	if r.At.IsZero() {
		r.At = time.Now().UTC().Truncate(time.Millisecond)
	}
	invalid.checkTime("requestedAt", &r.At)
	invalid.checkTime("expiresAt", &r.Expires)
	if r.Apply != "" && r.DryRun {
		invalid.add("dryRun", "does not go with apply, which repairs")
	}
	r.Order.check(invalid)
}

// NewRunID makes the id of a run. Ids sort by the time they were made.
func NewRunID() string { return uuid.Must(uuid.NewV7()).String() }

func setDefault[T ~string](value *T, otherwise T) {
	if *value == "" {
		*value = otherwise
	}
}
