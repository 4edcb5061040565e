package source

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

// The tests' server is a single node. What follows is seen through a wire proxy that
// rewrites its answers to those of a replica set's members; the documents are the
// server's own.

const patient = "serverSelectionTimeoutMS=3000&heartbeatFrequencyMS=500&connectTimeoutMS=3000"

// replicaSet is a catalogue behind the members of a replica set.
type replicaSet struct {
	catalogue *testenv.Catalogue
	members   []*testenv.MongoWire
}

func newReplicaSet(t *testing.T, members int) *replicaSet {
	t.Helper()
	set := &replicaSet{catalogue: testenv.Products(t)}
	for range members {
		set.members = append(set.members, testenv.NewMongoWire(t, testenv.MongoServer(t)))
	}
	set.elect(0)
	return set
}

func (r *replicaSet) hosts() []string {
	var hosts []string
	for _, m := range r.members {
		hosts = append(hosts, m.Addr)
	}
	return hosts
}

// member is how a member presents itself while another one, or none (-1), is the primary.
func (r *replicaSet) member(i, primary int) testenv.MongoMember {
	m := testenv.MongoMember{Set: "rs", Hosts: r.hosts(), Me: r.members[i].Addr, Term: int64(primary + 1)}
	if primary >= 0 {
		m.Primary = r.members[primary].Addr
	}
	return m
}

func (r *replicaSet) elect(primary int) {
	for i, w := range r.members {
		w.Edit(r.member(i, primary).Greet)
	}
}

// config is a configuration whose URL has these hosts and options.
func (r *replicaSet) config(hosts []string, options string) Config {
	config := configOf(r.catalogue)
	config.URL = secret.URL("mongodb://" + strings.Join(hosts, ",") + "/" + r.catalogue.Database + "?" + patient + "&" + options)
	return config
}

// decisive are the commands that read what decides something.
var decisive = []string{"find", "aggregate", "count", "distinct", "getMore", "listCollections"}

func TestCaseD4EveryReadIsOneOfThePrimaryAndOfTheMajority(t *testing.T) {
	t.Parallel()
	for _, options := range []string{
		"replicaSet=rs", "replicaSet=rs&readPreference=secondaryPreferred&readConcernLevel=local", "replicaSet=rs&readPreference=secondary&readPreferenceTags=dc:b&maxStalenessSeconds=120",
		"replicaSet=rs&readPreference=nearest&readConcernLevel=linearizable", "readPreference=secondary&readConcernLevel=available",
	} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			set := newReplicaSet(t, 2)
			set.catalogue.Seed(50)
			s := open(t, set.config(set.hosts(), options))
			s.page = 20 // so that scans read on from their cursors
			for name, read := range reads() {
				if err := read(t.Context(), s); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if sent := set.members[1].Commands(decisive...); len(sent) > 0 {
				t.Errorf("the secondary was asked %s", sent[0].Body)
			}
			seen := map[string]int{}
			for _, c := range set.members[0].Commands(decisive...) {
				seen[c.Name]++
				level := c.Body.Lookup("readConcern", "level")
				switch c.Name {
				case "getMore", "listCollections": // the first goes on with its cursor's concern, the second knows none
					if !level.IsZero() {
						t.Errorf("%s has a read concern: %s", c.Name, c.Body)
					}
				default:
					if text, ok := level.StringValueOK(); !ok || text != "majority" {
						t.Errorf("%s is read with %s", c.Name, c.Body)
					}
				}
				if mode, err := c.Body.LookupErr("$readPreference", "mode"); err == nil && mode.StringValue() != "primary" { // which is what none means
					t.Errorf("%s is sent with the preference %s", c.Name, mode)
				}
			}
			for _, name := range []string{"find", "aggregate", "count", "getMore", "listCollections"} {
				if seen[name] == 0 {
					t.Errorf("no %s was sent: %v", name, seen)
				}
			}
		})
	}
}

func TestCaseD4OptionsThatAreNotUsedAreNamed(t *testing.T) {
	t.Parallel()
	for options, want := range map[string][]string{
		"":                        nil,
		"?readPreference=primary": nil,
		"?readPreference=PRIMARY&readConcernLevel=majority":                      nil,
		"?readPreference=secondaryPreferred&maxStalenessSeconds=90":              {"maxStalenessSeconds", "readPreference"},
		"?readConcernLevel=local&readPreference=nearest&readPreferenceTags=dc:a": {"readConcernLevel", "readPreference", "readPreferenceTags"},
	} {
		config := Config{URL: secret.URL("mongodb://u:p@mongo/shop" + options), Collection: "products"}
		if err := config.Validate(); err != nil {
			t.Errorf("%s: %v", options, err)
		}
		if got := config.Unused(); !slices.Equal(got, want) {
			t.Errorf("%s: unused are %q, want %q", options, got, want)
		}
	}
}

// A URL that names a secondary for itself is refused by name, and one whose only server
// waits for an election is waited for.
func TestCaseD4SecondaryIsRefused(t *testing.T) {
	t.Parallel()
	set := newReplicaSet(t, 2)
	set.catalogue.Seed(3)
	s := open(t, set.config(set.hosts()[1:], "directConnection=true"))
	for name, read := range reads() {
		err := read(t.Context(), s)
		testenv.CheckMessage(t, err, "this is a secondary of the replica set rs", set.members[0].Addr, "directConnection", "PRODUCT_SERVICE_MONGODB_URL")
		if errors.As(err, new(*product.AwayError)) {
			t.Errorf("%s: a secondary counts as away: %v", name, err)
		}
	}
	if sent := set.members[1].Commands(decisive...); len(sent) > 0 {
		t.Errorf("the secondary was asked %s", sent[0].Body)
	}
	set.elect(-1)
	_, err := s.Find(t.Context(), []product.ID{"1"})
	checkAway(t, err, "is no primary at present")
	set.elect(1)
	if err := s.Current(t.Context()); err != nil {
		t.Errorf("as the primary: %v", err)
	}
}

func checkAway(t *testing.T, err error, wants ...string) {
	t.Helper()
	testenv.CheckMessage(t, err, wants...)
	var absent *product.AwayError
	if !errors.As(err, &absent) || absent.Server != "MongoDB" {
		t.Errorf("it does not say that MongoDB is away: %v", err)
	}
}

// impatient sources ask about the majority before each read, and wait for it shortly.
func impatient(s *Source) *Source {
	s.freshFor, s.catchUp = 0, 500*time.Millisecond
	return s
}

func TestCaseD4NothingIsReadWhileTheMajorityStaysBehind(t *testing.T) {
	t.Parallel()
	set := newReplicaSet(t, 1)
	seeded := set.catalogue.Seed(60)
	lagging := set.member(0, 0)
	lagging.Written, lagging.Committed = 1_700_000_100, 1_700_000_000
	current := lagging
	current.Committed = current.Written
	wire := set.members[0]
	wire.Edit(lagging.Greet)
	s := impatient(open(t, set.config(set.hosts(), "replicaSet=rs")))
	s.page = 20
	for name, read := range reads() {
		if name == "ping" { // which decides nothing
			continue
		}
		checkAway(t, read(t.Context(), s), "the majority of the replica set stays behind", "2023-11-14T22:13:20Z", "2023-11-14T22:15:00Z", "rs.status()")
	}
	if sent := wire.Commands(decisive...); len(sent) > 0 {
		t.Errorf("it read all the same: %s", sent[0].Body)
	}
	checkAway(t, s.Current(t.Context()), "the majority of the replica set stays behind")

	// It catches up while it is waited for; what is written meanwhile is not waited for.
	var greetings atomic.Int32
	wire.Edit(func(command testenv.MongoCommand, reply bson.D) bson.D {
		m := lagging
		if n := uint32(greetings.Add(1)); n > 3 {
			m.Committed, m.Written = lagging.Written, lagging.Written+n
		}
		return m.Greet(command, reply)
	})
	short := s.catchUp
	s.catchUp = time.Minute // greetings come slowly on a busy machine
	if err := s.Current(t.Context()); err != nil {
		t.Errorf("once it has caught up: %v", err)
	}
	s.catchUp = short

	// In mid-scan it ends the scan, and nothing after it was read.
	wire.Edit(current.Greet)
	var got []string
	var last error
	for page, err := range s.Scan(t.Context(), product.Range{Class: product.ObjectIDs}, product.CartFields(), time.Time{}) {
		page = testenv.KeptProducts(page)
		last = err
		for _, p := range page {
			got = append(got, string(p.ID()))
		}
		wire.Edit(lagging.Greet)
	}
	checkAway(t, last, "the majority of the replica set stays behind")
	if !slices.Equal(got, seeded.Keys()[:20]) {
		t.Errorf("%d products were read, want the first page", len(got))
	}
}

// Many who read at once ask about the majority once, and wait in vain together.
func TestCaseD4TheMajorityIsAskedForSeldom(t *testing.T) {
	t.Parallel()
	set := newReplicaSet(t, 1)
	set.catalogue.Seed(3)
	m := set.member(0, 0)
	m.Written, m.Committed = 1_700_000_100, 1_700_000_100
	set.members[0].Edit(m.Greet)
	s := open(t, set.config(set.hosts(), "replicaSet=rs&heartbeatFrequencyMS=60000"))
	asked := func() int {
		n := 0
		for _, c := range set.members[0].Commands("hello") {
			if _, err := c.Body.LookupErr("lsid"); err == nil { // the driver's own have none
				n++
			}
		}
		return n
	}
	for range 20 {
		if _, err := s.Find(t.Context(), []product.ID{"1"}); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked(); n != 1 {
		t.Errorf("20 reads asked %d times", n)
	}
	m.Committed--
	set.members[0].Edit(m.Greet)
	impatient(s)
	begun := time.Now()
	failures := make(chan error)
	const readers = 8
	for range readers {
		go func() {
			_, err := s.Find(t.Context(), []product.ID{"1"})
			failures <- err
		}()
	}
	for range readers {
		checkAway(t, <-failures, "stays behind")
	}
	if took := time.Since(begun); took > readers*s.catchUp/2 {
		t.Errorf("%d readers waited one after the other, %s", readers, took)
	}
}

// A scan's cursor survives on a server that is the primary no longer. It is opened
// anew on the new one.
func TestCaseD4ScanFollowsAnElection(t *testing.T) {
	t.Parallel()
	set := newReplicaSet(t, 2)
	seeded := set.catalogue.Seed(100)
	s := impatient(open(t, set.config(set.hosts(), "replicaSet=rs&serverSelectionTimeoutMS=10000")))
	s.page = 20
	var got []string
	for page, err := range s.Scan(t.Context(), product.Range{Class: product.ObjectIDs}, product.CartFields(), time.Time{}) {
		page = testenv.KeptProducts(page)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			set.elect(1)
		}
		for _, p := range page {
			got = append(got, string(p.ID()))
		}
	}
	if !slices.Equal(got, seeded.Keys()) {
		t.Errorf("%d products, want each of %d once and in order", len(got), seeded.N)
	}
	if n := len(set.members[0].Commands("getMore")); n > 0 {
		t.Errorf("the old primary was read on %d times", n)
	}
	if n := len(set.members[1].Commands("getMore")); n == 0 {
		t.Error("the new primary was not read")
	}
}

// refusing makes a server refuse a command so many times.
func refusing(member testenv.MongoMember, command string, times int32, refusal bson.D) testenv.MongoEdit {
	var left atomic.Int32
	left.Store(times)
	return func(c testenv.MongoCommand, reply bson.D) bson.D {
		if c.Name == command && left.Add(-1) >= 0 {
			return refusal
		}
		return member.Greet(c, reply)
	}
}

func TestCaseD13WhatHealsAtOnceIsReadAgain(t *testing.T) {
	t.Parallel()
	for _, refusal := range []bson.D{
		testenv.MongoRefusal(10107, "NotWritablePrimary", "not primary"),
		testenv.MongoRefusal(13435, "NotPrimaryNoSecondaryOk", "not primary and secondaryOk=false"),
		testenv.MongoRefusal(11602, "InterruptedDueToReplStateChange", "operation was interrupted"),
		testenv.MongoRefusal(189, "PrimarySteppedDown", "primary stepped down"),
		testenv.MongoRefusal(91, "ShutdownInProgress", "the server is in quiesce mode and will shut down"),
		testenv.MongoRefusal(134, "ReadConcernMajorityNotAvailableYet", "no majority is known yet"),
		testenv.MongoRefusal(43, "CursorNotFound", "cursor id 1 not found"),
	} {
		for _, command := range []string{"find", "getMore"} {
			t.Run(fmt.Sprint(refusal[2].Value, " ", command), func(t *testing.T) {
				t.Parallel()
				set := newReplicaSet(t, 1)
				seeded := set.catalogue.Seed(60)
				set.members[0].Edit(refusing(set.member(0, 0), command, 2, refusal))
				s := open(t, set.config(set.hosts(), "replicaSet=rs"))
				s.page = 20
				var got []string
				for _, p := range scanned(t, s, product.Range{Class: product.ObjectIDs}, time.Time{}) {
					got = append(got, string(p.ID()))
				}
				if !slices.Equal(got, seeded.Keys()) {
					t.Errorf("%d products, want each of %d once and in order", len(got), seeded.N)
				}
			})
		}
	}
}

const always = 1 << 30

// What does not answer at present is away, and what is refused is not: waiting would
// change nothing.
func TestCaseD13AwayOrRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, command string
		code          int32
		away          bool
		says          string
	}{
		{"NotWritablePrimary", "find", 10107, true, "NotWritablePrimary"},
		{"ShutdownInProgress", "find", 91, true, "ShutdownInProgress"},
		{"ShutdownInProgress", "saslContinue", 91, true, "ShutdownInProgress"},
		{"ReadConcernMajorityNotAvailableYet", "find", 134, true, "ReadConcernMajorityNotAvailableYet"},
		{"AuthenticationFailed", "saslContinue", 18, false, "check MONGO_USER"},
		{"Unauthorized", "find", 13, false, "grant it the role read"},
		{"ReadConcernMajorityNotEnabled", "find", 148, false, "enableMajorityReadConcern"},
		{"MaxTimeMSExpired", "find", 50, false, "time limit"},
		{"BadValue", "find", 2, false, "BadValue"},
	} {
		t.Run(tt.name+" "+tt.command, func(t *testing.T) {
			t.Parallel()
			set := newReplicaSet(t, 1)
			set.catalogue.Seed(3)
			set.members[0].Edit(refusing(set.member(0, 0), tt.command, always, testenv.MongoRefusal(tt.code, tt.name, "said by the test")))
			s := open(t, set.config(set.hosts(), "replicaSet=rs"))
			begun := time.Now()
			_, err := s.Find(t.Context(), []product.ID{"1"})
			testenv.CheckMessage(t, err, tt.says)
			if got := errors.As(err, new(*product.AwayError)); got != tt.away {
				t.Errorf("away %t, want %t: %v", got, tt.away, err)
			}
			if took := time.Since(begun); took > 12*time.Second {
				t.Errorf("it took %s to give up", took)
			}
		})
	}
}

func TestCaseD13ElectionIsNotAnUnknownHost(t *testing.T) {
	t.Parallel()
	set := newReplicaSet(t, 2)
	set.elect(-1)
	s := open(t, set.config(set.hosts(), "replicaSet=rs"))
	var reading sync.WaitGroup
	for _, read := range reads() {
		reading.Go(func() {
			checkAway(t, read(t.Context(), s), "no server is the primary", set.members[0].Addr, "RSSecondary")
		})
	}
	reading.Wait()
	s = open(t, set.config(set.hosts(), "replicaSet=other"))
	_, err := s.Count(t.Context())
	testenv.CheckMessage(t, err, "check its replicaSet")
	if errors.As(err, new(*product.AwayError)) {
		t.Errorf("another replica set counts as away: %v", err)
	}
}
