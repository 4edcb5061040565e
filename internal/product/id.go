// Package product holds the domain: products and their identities, the
// canonical values that two stores are compared by, what the cart's columns
// can hold, and the kinds of difference. It knows no driver and does no I/O.
package product

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ID is a product's identity as canonical text, the form that travels in events
// and that the cart stores: an ObjectId is 24 lower-case hexadecimal digits, a
// UUID is lower-case with dashes, an integer is decimal, a string is itself.
type ID string

// Class is the type of a source key. Keys of different classes never compare
// with each other: MongoDB's range operators match one class only.
type Class string

// The classes of `_id` that can be compared and replayed.
const (
	ObjectIDs Class = "objectId"
	Strings   Class = "string"
	UUIDs     Class = "uuid"
	Integers  Class = "integer"
)

// Classes lists every supported class.
func Classes() []Class { return []Class{Integers, Strings, UUIDs, ObjectIDs} }

// Key is a position in the source's key order.
type Key struct {
	Class Class
	ID    ID
}

// KeysOf lists the source keys whose canonical text is id, one per class that
// can have that text. A string key always can.
func KeysOf(id ID) []Key {
	keys := []Key{{Strings, id}}
	switch {
	case id.IsObjectID():
		keys = append(keys, Key{ObjectIDs, id})
	case id.isUUID():
		keys = append(keys, Key{UUIDs, id})
	}
	if n, err := strconv.ParseInt(string(id), 10, 64); err == nil && strconv.FormatInt(n, 10) == string(id) {
		keys = append(keys, Key{Integers, id})
	}
	return keys
}

// IsObjectID tells whether id is the text of an ObjectId.
func (id ID) IsObjectID() bool { return len(id) == 24 && lowerHex(string(id)) }

func (id ID) isUUID() bool {
	s := string(id)
	return len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' &&
		lowerHex(strings.ReplaceAll(s, "-", "")) && strings.Count(s, "-") == 4
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Range is a part of the source's keys of one class: After < key <= Through.
// An empty After is the start of the class, an empty Through its end.
type Range struct {
	Class          Class
	After, Through ID
}

func (r Range) String() string {
	from, to := "start", "end"
	if r.After != "" {
		from = r.bound(r.After)
	}
	if r.Through != "" {
		to = r.bound(r.Through)
	}
	return fmt.Sprintf("%s (%s..%s]", r.Class, from, to)
}

// bound is an id in a message.
func (r Range) bound(id ID) string {
	if r.Class == Strings {
		return quoted(string(id))
	}
	return string(id)
}

// CreatedBy is the time that the text of an ObjectId begins with, in seconds since 1970; zero
// of any other id. https://www.mongodb.com/docs/manual/reference/bson-types/#objectid
func CreatedBy(id ID) time.Time {
	if !id.IsObjectID() {
		return time.Time{}
	}
	seconds, err := strconv.ParseUint(string(id[:8]), 16, 32)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0)
}
