package run

import "time"

// Actor is who does something, as far as that is known: the name is what a verified token
// says, the account at a terminal, or what a message claims.
type Actor struct {
	Name    string
	Trigger Trigger
}

// Deed is how somebody steered.
type Deed string

// The deeds. Asking for a run is none: the run says who asked for it.
const (
	DidPause  Deed = "pause"
	DidResume Deed = "resume"
	DidCancel Deed = "cancel"
	DidApply  Deed = "apply"
	DidStart  Deed = "scheduler-start"
	DidStop   Deed = "scheduler-stop"
)

// Deeds lists all of them.
func Deeds() []Deed { return []Deed{DidPause, DidResume, DidCancel, DidApply, DidStart, DidStop} }

// Deed is how somebody steers who asks this of a run.
func (w Wanted) Deed() Deed {
	switch w {
	case WantPause:
		return DidPause
	case WantCancel:
		return DidCancel
	}
	return DidResume
}

// DeedOfSwitch is how somebody steers who turns scheduled runs on or off.
func DeedOfSwitch(on bool) Deed {
	if on {
		return DidStart
	}
	return DidStop
}

// Action is that somebody steered a run, or the scheduler. What changed nothing is none.
type Action struct {
	At      time.Time `json:"at"`
	Deed    Deed      `json:"action"`
	By      string    `json:"by,omitempty"`
	Trigger Trigger   `json:"trigger"`
	Run     string    `json:"run,omitempty"`    // the run that was steered
	NewRun  string    `json:"newRun,omitempty"` // the run that applies its findings
}

// ActionFilter picks actions; the zero value picks all.
type ActionFilter struct {
	Run    string    // of this run only
	Since  time.Time // at or after
	Before string    // a page's Next
	Limit  int       // 1..MaxPage, 0 is DefaultPage
}

// ActionPage is a page of actions, the latest first; Next is empty on the last one.
type ActionPage struct {
	Actions []Action
	Next    string
}
