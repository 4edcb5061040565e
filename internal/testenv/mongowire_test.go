package testenv_test

import (
	"errors"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/ecom-micro/etl/internal/testenv"
)

func TestMongoWireRecordsAndRewrites(t *testing.T) {
	t.Parallel()
	catalogue := testenv.Products(t)
	catalogue.Seed(3)
	wire := testenv.NewMongoWire(t, testenv.MongoServer(t))
	credential := options.Credential{Username: catalogue.User, Password: catalogue.Password, AuthSource: catalogue.AuthSource}
	client, err := mongo.Connect(options.Client().ApplyURI("mongodb://" + wire.Addr).SetAuth(credential))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(t.Context()) })
	products := client.Database(catalogue.Database).Collection(catalogue.Collection.Name())
	count := func() (int64, error) { return products.CountDocuments(t.Context(), bson.D{}) }
	if n, err := count(); err != nil || n != 3 {
		t.Fatalf("through the proxy: %d, %v", n, err)
	}
	sent := wire.Commands("aggregate")
	if len(sent) != 1 || sent[0].Body.Lookup("aggregate").StringValue() != products.Name() || len(wire.Commands("insert")) != 0 {
		t.Errorf("recorded: %v", sent)
	}
	wire.Edit(func(c testenv.MongoCommand, reply bson.D) bson.D {
		if c.Name == "aggregate" {
			return testenv.MongoRefusal(13, "Unauthorized", "not authorized")
		}
		return reply
	})
	var refused mongo.CommandError
	if _, err := count(); !errors.As(err, &refused) || refused.Code != 13 {
		t.Errorf("a rewritten answer: %v", err)
	}
	member := testenv.MongoMember{Set: "rs", Hosts: []string{wire.Addr}, Me: wire.Addr, Primary: wire.Addr, Written: 7, Committed: 5}
	wire.Edit(member.Greet)
	var hello struct {
		Set       string `bson:"setName"`
		Writable  bool   `bson:"isWritablePrimary"`
		LastWrite struct {
			Majority struct {
				Moment bson.Timestamp `bson:"ts"`
			} `bson:"majorityOpTime"`
		} `bson:"lastWrite"`
	}
	if err := client.Database("admin").RunCommand(t.Context(), bson.D{{Key: "hello", Value: 1}}).Decode(&hello); err != nil {
		t.Fatal(err)
	}
	if hello.Set != "rs" || !hello.Writable || hello.LastWrite.Majority.Moment.T != 5 {
		t.Errorf("a member's greeting: %+v", hello)
	}
	wire.Edit(nil)
	if n, err := count(); err != nil || n != 3 {
		t.Errorf("afterwards: %d, %v", n, err)
	}
}
