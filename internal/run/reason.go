package run

import "time"

// Reason says why a product is in its state: a code, and what the code speaks of.
// People read it in words that the room internal/words has, each in the terms of
// whoever asked.
type Reason struct {
	Code Code `json:"code,omitempty"`
	// Detail is in the words of somebody else: a misfit's, a server's, a table's name.
	Detail string `json:"detail,omitempty"`
	// Queue is the cart's queue that is waited for, Ready, Held and Consumers what was
	// seen of it: messages waiting, delivered and not acknowledged, consumers.
	Queue     string `json:"queue,omitempty"`
	Ready     int    `json:"ready,omitempty"`
	Held      int    `json:"held,omitempty"`
	Consumers int    `json:"consumers,omitempty"`
	// Number is the limit that was reached, or the attempts that were made.
	Number int64 `json:"number,omitempty"`
	// Since is when it began to be so, Until when it ends or is given up.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

// Code is why a product is in its state.
type Code string

// The reasons.
const (
	// Of products in flight.
	ReasonQueue     Code = "queue"     // what is queued for the cart is not consumed
	ReasonUnseen    Code = "unseen"    // the queue cannot be seen: Detail
	ReasonSettling  Code = "settling"  // so young that its event may still come: Until
	ReasonYoung     Code = "young"     // too young for a direct write: Until
	ReasonChanging  Code = "changing"  // it changes again and again
	ReasonUnproved  Code = "unproved"  // repaired, and the run ended before the proof
	ReasonCrowded   Code = "crowded"   // its queue stands, and too many wait for it
	ReasonUnchecked Code = "unchecked" // the run ended before it was looked at again
	// Of a run that waits.
	ReasonAway Code = "away" // the server Detail does not answer
	// Of products that the cart cannot hold, or that cannot be repaired so.
	ReasonMisfit     Code = "misfit"     // Column, Detail
	ReasonReferenced Code = "referenced" // by the table Detail
	ReasonUseDirect  Code = "use-direct" // no event changes the field Detail
	// Of products that are not there any more.
	ReasonDeleted Code = "deleted" // in the source, before or while it was repaired
	ReasonRevived Code = "revived" // its row came back after the deletion, and is taken back
	ReasonKept    Code = "kept"    // its row came back after the deletion, and stays: Detail
	ReasonArrived Code = "arrived" // the two sides agreed before it was repaired
	// Of products that were repaired in vain.
	ReasonConsumed Code = "consumed" // Number events were consumed, and left no row
	ReasonNacked   Code = "nacked"   // the broker refused the event Number times
	ReasonSilent   Code = "silent"   // the broker never answered, and nothing arrived
	ReasonDiffers  Code = "differs"  // a direct repair had no effect that lasted
	// Of products that were not repaired.
	ReasonStopped Code = "stopped" // the run was stopped
	ReasonService Code = "service" // a service failed: Detail
	ReasonLimit   Code = "limit"   // the caller's limit of Number repairs
	ReasonCeiling Code = "ceiling" // more than the Number that was judged
	ReasonDeletes Code = "deletes" // the limit of Number deletes
	ReasonGuard   Code = "guard"   // a person decides first
	ReasonDeadly  Code = "deadly"  // Number processes ended while they had it in hand
)
