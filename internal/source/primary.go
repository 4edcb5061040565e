package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Every read that decides something is one of the primary, and of what a majority of
// its members has: what only the primary has may be taken back by an election. Such a
// read does not wait for the majority, though. While that lags (a secondary is down,
// and an arbiter keeps the primary) it shows an old state without a word, so the
// primary is asked how far its majority is: at most every freshFor, which is a small
// part of the time that differences have to settle.
const (
	freshFor = 5 * time.Second
	// catchUpLimit is how long the majority may take to reach the primary's last write.
	catchUpLimit = 10 * time.Second
	catchUpPause = 100 * time.Millisecond
)

// greeting is what a server says of itself in its answer to hello:
// https://www.mongodb.com/docs/manual/reference/command/hello/
type greeting struct {
	LocalTime  time.Time     `bson:"localTime"`
	Writable   *bool         `bson:"isWritablePrimary"`
	Arbiter    bool          `bson:"arbiterOnly"`
	Set        string        `bson:"setName"`
	Me         string        `bson:"me"`
	Primary    string        `bson:"primary"`
	ElectionID bson.ObjectID `bson:"electionId"`
	LastWrite  struct {
		Last        opTime    `bson:"opTime"`
		LastAt      time.Time `bson:"lastWriteDate"`
		Committed   opTime    `bson:"majorityOpTime"`
		CommittedAt time.Time `bson:"majorityWriteDate"`
	} `bson:"lastWrite"` // empty where the server is no member of a replica set
}

// opTime is a point in the order of all writes of a replica set.
type opTime struct {
	Moment bson.Timestamp `bson:"ts"`
	Term   int64          `bson:"t"`
}

func (t opTime) before(other opTime) bool {
	return cmp.Or(cmp.Compare(t.Term, other.Term), t.Moment.Compare(other.Moment)) < 0
}

func (s *Source) hello(ctx context.Context) (*greeting, error) {
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	var g greeting
	if err := s.collection.Database().RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&g); err != nil {
		return nil, err
	}
	return &g, s.suits(&g)
}

// errNoPrimary says that the server that answers is no primary at this moment.
var errNoPrimary = errors.New("is no primary at present")

// suits tells whether the server may be read. Only the driver's look at a replica set
// finds its primary; of a server that was named for itself any state must be expected.
func (s *Source) suits(g *greeting) error {
	switch {
	case g.Writable == nil || *g.Writable:
		return nil
	case !s.direct || g.Primary == "" || g.Primary == g.Me:
		return fmt.Errorf("%s %w", cmp.Or(g.Me, "the server"), errNoPrimary)
	}
	what := "a secondary"
	if g.Arbiter {
		what = "an arbiter"
	}
	return fmt.Errorf("%s: this is %s of the replica set %s, and only its primary (%s) is read: remove directConnection from PRODUCT_SERVICE_MONGODB_URL, or name the primary",
		g.Me, what, g.Set, g.Primary)
}

// laggingError says that what a majority has stays behind what the primary has.
type laggingError struct{ last, committed time.Time }

func (e *laggingError) Error() string {
	return fmt.Sprintf("the majority of the replica set stays behind its primary's last write (%s against %s), so nothing can be decided: see which of its members is down or slow (rs.status())",
		e.committed.UTC().Format(time.RFC3339), e.last.UTC().Format(time.RFC3339))
}

// Current waits until reads show everything that the primary has at this moment.
func (s *Source) Current(ctx context.Context) error {
	if _, err := s.caughtUp(ctx); err != nil {
		return fmt.Errorf("read %s: %w", s.where, explained(away(err)))
	}
	return nil
}

// caughtUp is Current, with the election that made the server the primary.
func (s *Source) caughtUp(ctx context.Context) (election string, err error) {
	first, err := s.hello(ctx)
	if err != nil {
		return "", err
	}
	limit := time.NewTimer(s.catchUp)
	defer limit.Stop()
	for g := first; g.LastWrite.Committed.before(first.LastWrite.Last); {
		pause := time.NewTimer(catchUpPause)
		select {
		case <-pause.C:
		case <-limit.C:
			return "", &laggingError{first.LastWrite.LastAt, g.LastWrite.CommittedAt}
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
		if g, err = s.hello(ctx); err != nil {
			return "", err
		}
	}
	return first.Me + first.ElectionID.Hex(), nil
}

// freshness remembers when reads were current last, for all of them together.
type freshness struct {
	turn     chan struct{} // has room for the one who asks
	asked    time.Time     // when the last answer was asked for that was good
	election string
	failed   time.Time // when the last one came to nothing
	err      error
}

// fresh is caughtUp, asked anew after freshFor only. Those who ask together wait
// together.
func (s *Source) fresh(ctx context.Context) (election string, err error) {
	begun := time.Now()
	f := &s.freshness
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if f.failed.After(begun) {
		return "", f.err
	}
	asked := time.Now()
	if asked.Sub(f.asked) < s.freshFor {
		return f.election, nil
	}
	election, err = s.caughtUp(ctx)
	switch {
	case err == nil:
		f.asked, f.election = asked, election
	case ctx.Err() == nil:
		f.failed, f.err = time.Now(), err
	}
	return election, err
}
