package run

import "time"

// Notice is something that people want to hear of without looking, kept until it is told.
type Notice struct {
	ID      int64     `json:"id"`
	Subject string    `json:"subject"` // what it is about: a run, the delivery, a detector
	Event   NoticeOf  `json:"event"`
	At      time.Time `json:"at"`
	Text    string    `json:"text"`          // for people, of one line
	Run     string    `json:"run,omitempty"` // that it is about
	// Attempts is how often it was tried to tell it.
	Attempts int `json:"-"`
}

// NoticeOf is what has happened.
type NoticeOf string

// What notices are of. Of one subject the same is not told twice in a row.
const (
	DriftFound     NoticeOf = "drift found"
	RunStopped     NoticeOf = "run stopped"
	RunFailed      NoticeOf = "run failed"
	RunPartial     NoticeOf = "run partial"
	DeliveryBroken NoticeOf = "delivery broken"
	DeliveryHealed NoticeOf = "delivery healed"
	DetectorOff    NoticeOf = "detector off"
	DetectorOn     NoticeOf = "detector on"
)

// Heals is what a notice is the end of, empty of what is none: without the one before, it is no
// news.
func (n NoticeOf) Heals() NoticeOf {
	switch n {
	case DeliveryHealed:
		return DeliveryBroken
	case DetectorOn:
		return DetectorOff
	}
	return ""
}
