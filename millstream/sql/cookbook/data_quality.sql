-- title: Data quality
-- question: What became of the events of each day?
-- parameter: since Date = 1970-01-01: days from this one on
SELECT day, published, unreadable, answered, abstained, late, refused, refused_again, round(refused_share, 6) AS refused_share
FROM data_quality
WHERE day >= {since:Date}
