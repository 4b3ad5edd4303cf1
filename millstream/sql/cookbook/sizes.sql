-- title: Sizes
-- question: How large is each table, and how many bytes is a row?
SELECT table, sum(rows) AS all_rows, formatReadableSize(sum(bytes_on_disk)) AS on_disk, round(sum(bytes_on_disk) / all_rows, 1) AS bytes_a_row, count() AS parts
FROM system.parts
WHERE active AND database = currentDatabase() AND rows > 0
GROUP BY table
ORDER BY sum(bytes_on_disk) DESC
