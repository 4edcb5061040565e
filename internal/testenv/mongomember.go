package testenv

import (
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// MongoMember is what a member of a replica set says of itself.
type MongoMember struct {
	Set       string
	Hosts     []string // of all members
	Me        string
	Primary   string // the primary that it knows, empty while one is elected
	Term      int64  // how many elections the set has seen
	Written   uint32 // when its last write was, in seconds since 1970; 0 says nothing of writes
	Committed uint32 // when the last write was that a majority has
}

// Greet makes a server's answer to hello that of the member. Other answers pass unchanged.
func (m MongoMember) Greet(command MongoCommand, reply bson.D) bson.D {
	if command.Name != "hello" && command.Name != "isMaster" && command.Name != "ismaster" {
		return reply
	}
	set := map[string]any{
		"isWritablePrimary": m.Primary == m.Me, "ismaster": m.Primary == m.Me, "secondary": m.Primary != m.Me,
		"setName": m.Set, "setVersion": int32(1), "hosts": m.Hosts, "me": m.Me,
	}
	if m.Primary != "" {
		set["primary"] = m.Primary
	}
	if m.Primary == m.Me {
		set["electionId"] = bson.ObjectID{11: byte(m.Term)}
	}
	if m.Written != 0 {
		moment := func(seconds uint32) bson.D {
			return bson.D{{Key: "ts", Value: bson.Timestamp{T: seconds, I: 1}}, {Key: "t", Value: m.Term}}
		}
		date := func(seconds uint32) time.Time { return time.Unix(int64(seconds), 0) }
		set["lastWrite"] = bson.D{
			{Key: "opTime", Value: moment(m.Written)}, {Key: "lastWriteDate", Value: date(m.Written)},
			{Key: "majorityOpTime", Value: moment(m.Committed)}, {Key: "majorityWriteDate", Value: date(m.Committed)},
		}
	}
	var greeting bson.D
	for _, e := range reply {
		if _, changed := set[e.Key]; !changed {
			greeting = append(greeting, e)
		}
	}
	for key, value := range set {
		greeting = append(greeting, bson.E{Key: key, Value: value})
	}
	return greeting
}

// MongoRefusal is a server's answer to a command that it does not do.
func MongoRefusal(code int32, name, message string) bson.D {
	return bson.D{{Key: "ok", Value: 0.0}, {Key: "code", Value: code}, {Key: "codeName", Value: name}, {Key: "errmsg", Value: message}}
}
