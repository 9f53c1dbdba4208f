package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// roundtrip sends keyed records with headers in each codec and reads them back.
func roundtrip(bootstrap string) (string, error) {
	codecs := []struct {
		name  string
		codec kgo.CompressionCodec
	}{
		{"none", kgo.NoCompression()},
		{"gzip", kgo.GzipCompression()},
		{"snappy", kgo.SnappyCompression()},
		{"lz4", kgo.Lz4Compression()},
		{"zstd", kgo.ZstdCompression()},
	}
	for _, one := range codecs {
		if err := roundtripCodec(bootstrap, one.name, one.codec); err != nil {
			return "", fmt.Errorf("%s: %w", one.name, err)
		}
	}
	return "3000 records in 5 codecs", nil
}

func roundtripCodec(bootstrap, name string, codec kgo.CompressionCodec) error {
	topic, err := newTopic(bootstrap, "roundtrip-"+name, partitions)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ProducerBatchCompression(codec))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var records []*kgo.Record
	for n := range 600 {
		value := append([]byte(fmt.Sprintf("%d/", n)), bytes.Repeat([]byte("x"), 100)...)
		records = append(records, &kgo.Record{
			Topic: topic, Key: []byte(fmt.Sprintf("key-%d", n%20)), Value: value,
			Headers: []kgo.RecordHeader{{Key: "n", Value: []byte(fmt.Sprint(n))}, {Key: "none"}},
		})
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return err
	}
	held, err := readAll(bootstrap, topic)
	if err != nil {
		return err
	}
	last, home, count := map[string]int{}, map[string]int32{}, 0
	for partition, rows := range held {
		for _, record := range rows {
			var n int
			if _, err := fmt.Sscanf(string(record.Value), "%d/", &n); err != nil {
				return err
			}
			key := string(record.Key)
			if key != fmt.Sprintf("key-%d", n%20) {
				return fmt.Errorf("record %d has key %s", n, key)
			}
			headers := record.Headers
			if len(headers) != 2 || string(headers[0].Value) != fmt.Sprint(n) || headers[1].Value != nil {
				return fmt.Errorf("record %d has headers %v", n, headers)
			}
			if before, ok := last[key]; ok && before >= n {
				return fmt.Errorf("%d after %d for %s", n, before, key)
			}
			if before, ok := home[key]; ok && before != partition {
				return fmt.Errorf("%s is in partitions %d and %d", key, before, partition)
			}
			last[key], home[key] = n, partition
			count++
		}
	}
	if count != 600 {
		return fmt.Errorf("%d records instead of 600", count)
	}
	return nil
}

// idempotent relies on franz-go's default: idempotence on, up to five requests in flight a broker.
func idempotent(bootstrap string) (string, error) {
	topic, err := newTopic(bootstrap, "idempotent", partitions)
	if err != nil {
		return "", err
	}
	sender, err := newSender(bootstrap, topic)
	if err != nil {
		return "", err
	}
	for n := range 6000 {
		sender.send(int32(n % partitions))
	}
	total, err := sender.finish(bootstrap)
	return fmt.Sprintf("%d records exactly once", total), err
}

// survive produces until standard input ends, while somebody kills the broker.
func survive(bootstrap string) (string, error) {
	topic, err := newTopic(bootstrap, "survive", partitions)
	if err != nil {
		return "", err
	}
	sender, err := newSender(bootstrap, topic)
	if err != nil {
		return "", err
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, bufio.NewReader(os.Stdin))
		close(ended)
	}()
	pace, tell := time.NewTicker(20*time.Millisecond), time.NewTicker(300*time.Millisecond)
	for {
		select {
		case <-ended:
			total, err := sender.finish(bootstrap)
			return fmt.Sprintf("%d acknowledged records are there once and in order", total), err
		case <-tell.C:
			sender.take()
			fmt.Println("ACKED", len(sender.acked))
		case <-pace.C:
			// A broker that is away must not make the backlog grow without end.
			if sender.client.BufferedProduceRecords() < 5000 {
				for n := range 30 {
					sender.send(int32(n % partitions))
				}
			}
		}
	}
}

// transactions commits every other transaction and aborts the rest.
func transactions(bootstrap string) (string, error) {
	topic, err := newTopic(bootstrap, "transactions", partitions)
	if err != nil {
		return "", err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.TransactionalID(topic), kgo.DefaultProduceTopic(topic))
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for round := range 6 {
		if err := client.BeginTransaction(); err != nil {
			return "", err
		}
		verdict := kgo.TransactionEndTry(round%2 == 0)
		for n := range 50 {
			record := kgo.KeySliceRecord([]byte(fmt.Sprint(n)), []byte(fmt.Sprintf("%d/%v", round, bool(verdict))))
			client.Produce(ctx, record, nil)
		}
		if err := client.Flush(ctx); err != nil {
			return "", err
		}
		if err := client.EndTransaction(ctx, verdict); err != nil {
			return "", fmt.Errorf("end of transaction %d: %w", round, err)
		}
	}
	held, err := readAll(bootstrap, topic, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return "", err
	}
	count := 0
	for _, rows := range held {
		for _, record := range rows {
			if !bytes.HasSuffix(record.Value, []byte("/true")) {
				return "", fmt.Errorf("read_committed saw %s of an aborted transaction", record.Value)
			}
			count++
		}
	}
	if count != 150 {
		return "", fmt.Errorf("%d committed records instead of 150", count)
	}
	return "3 transactions committed, 3 aborted", nil
}
